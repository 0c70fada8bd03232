"""The reflectance of thin films on glass: from thicknesses to a spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_invert.arguments import check_integer
from lightning_invert.problems.problem import Problem
from lightning_invert.variables import Variable

__all__ = ["MultilayerFilm", "reflectance_and_transmittance", "refractive_index"]

SELLMEIER = {
    # I. H. Malitson, Interspecimen comparison of the refractive index of fused silica, J. Opt. Soc.
    # Am. 55, 1205 (1965): 0.21 to 3.7 µm.
    "SiO2": (1.0, (0.6961663, 0.4079426, 0.8974794), (0.0684043**2, 0.1162414**2, 9.896161**2)),
    # J. R. DeVore, Refractive indices of rutile and sphalerite, J. Opt. Soc. Am. 41, 416 (1951),
    # ordinary ray, 0.43 to 1.53 µm: n² = 5.913 + 0.2441 / (λ² - 0.0803), written as a Sellmeier sum.
    "TiO2": (5.913 - 0.2441 / 0.0803, (0.2441 / 0.0803,), (0.0803,)),
    # SCHOTT N-BK7, data sheet: 0.31 to 2.3 µm.
    "N-BK7": (
        1.0,
        (1.03961212, 0.231792344, 1.01046945),
        (0.00600069867, 0.0200179144, 103.560653),
    ),
}
"""A, B and C (µm²) of n² = A + sum_i B_i λ² / (λ² - C_i), λ in µm."""

SHORTEST, LONGEST = 450.0, 850.0  # nm
THINNEST, THICKEST = 20.0, 150.0  # nm


def refractive_index(material: str, wavelengths: Tensor) -> Tensor:
    """Return the refractive index at wavelengths (K,) in nm; none of the materials absorbs."""
    constant, strengths, resonances = SELLMEIER[material]
    square = (wavelengths / 1000.0) ** 2
    permittivity = torch.full_like(square, constant)
    for strength, resonance in zip(strengths, resonances, strict=True):
        permittivity = permittivity + strength * square / (square - resonance)
    return permittivity.sqrt()


def reflectance_and_transmittance(
    indices: Tensor, thicknesses: Tensor, wavelengths: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return the reflectance and the transmittance of a stack of films, each (N, K).

    By the transfer matrices of F. Abelès, at normal incidence: with :math:`\delta = 2 \pi n d /
    \lambda` the fields before and after a film are related by

    .. math:: \begin{pmatrix} \cos\delta & -i \sin\delta / n \\ -i n \sin\delta & \cos\delta
        \end{pmatrix},

    applied to (1, n of the substrate) film by film, from the last to the first (H. A. Macleod,
    *Thin-Film Optical Filters*, chapter 2, who writes n - ik where this is n + ik).

    Args:
        indices: n + ik, with k > 0 for a material that absorbs, shape (L + 2, K): of the medium that
            the light comes from, which must not absorb, of the L films in the light's order, and of
            the substrate.
        thicknesses: Thicknesses of the films in nm, shape (N, L).
        wavelengths: Wavelengths in vacuum in nm, shape (K,).
    """
    first, *films, last = indices.to(torch.complex128)
    electric, magnetic = torch.ones_like(last), last
    for film, thickness in zip(reversed(films), reversed(thicknesses.unbind(1)), strict=True):
        phase = 2.0 * math.pi * film / wavelengths * thickness[:, None]
        cos, sin = phase.cos(), phase.sin()
        electric, magnetic = (
            cos * electric - 1j * sin / film * magnetic,
            cos * magnetic - 1j * sin * film * electric,
        )
    total = first * electric + magnetic
    reflected = (first * electric - magnetic) / total
    transmitted = 4.0 * first.real * last.real / (total.real**2 + total.imag**2)
    return reflected.real**2 + reflected.imag**2, transmitted


class MultilayerFilm(Problem):
    r"""Reflect light from alternating films of TiO2 and SiO2 on glass, L -> K.

    Inputs are the thicknesses of the films from the air side, the first of TiO2; outputs the
    reflectance at K wavelengths from 450 to 850 nm, at normal incidence, without the back of the
    glass. Transfer matrices and refractive indices: :func:`reflectance_and_transmittance`,
    :func:`refractive_index`. It is the kind of problem that the tandem network was made for: D. Liu,
    Y. Tan, E. Khoram and Z. Yu, *Training deep neural networks for the inverse design of
    nanophotonic structures*, ACS Photonics 5, 1365 (2018). Prior and bounds: uniform, 20 to 150 nm.

    There are more outputs than inputs: full rank means that different films give different spectra.
    As a film between two others vanishes, :math:`\kappa` grows as one over its thickness, and the rank
    drops to L - 1: its neighbours become one film, of which only the sum counts. At most points the
    last film, if of SiO2, is the hardest to identify: glass has nearly the same index. Every two
    further films double :math:`\kappa`. Mirrors, whose films are a quarter of a wavelength thick, are
    among the worst points: 6.6e5 for 500 nm.

    Args:
        num_layers: L, the number of films.
        num_wavelengths: K, evenly spaced.

    Raises:
        TypeError: If an argument is not a whole number.
        ValueError: If an argument is below 1, or ``num_wavelengths`` below 2.

    Example:
        >>> film = MultilayerFilm()
        >>> x = film.sample(3, seed=0)
        >>> film.forward(x).shape, film.jacobian(x).shape
        (torch.Size([3, 101]), torch.Size([3, 101, 8]))
    """

    name = "multilayer_film"

    def __init__(self, num_layers: int = 8, num_wavelengths: int = 101) -> None:
        check_integer("num_layers", num_layers, low=1)
        check_integer("num_wavelengths", num_wavelengths, low=2)
        materials = [("TiO2", "SiO2")[i % 2] for i in range(num_layers)]
        self.wavelengths = torch.linspace(
            SHORTEST, LONGEST, num_wavelengths, dtype=torch.float64, device="cpu"
        )
        self.inputs = tuple(
            Variable(f"{material}_{i}", "nm", THINNEST, THICKEST)
            for i, material in enumerate(materials, 1)
        )
        self.outputs = tuple(
            Variable(f"reflectance_{wavelength:g}nm", "", 0.0, 1.0)
            for wavelength in self.wavelengths.tolist()
        )
        air = torch.ones_like(self.wavelengths)
        solid = [refractive_index(m, self.wavelengths) for m in (*materials, "N-BK7")]
        self.indices = torch.stack([air, *solid])

    def draw(self, num_points: int, generator: torch.Generator) -> Tensor:
        """Draw uniform thicknesses."""
        unit = torch.rand(num_points, len(self.inputs), generator=generator, dtype=torch.float64)
        return THINNEST + (THICKEST - THINNEST) * unit

    def outcomes(self, x: Tensor) -> Tensor:
        """Compute the reflectance."""
        indices, wavelengths = self.indices.to(x.device), self.wavelengths.to(x.device)
        return reflectance_and_transmittance(indices, x, wavelengths)[0]
