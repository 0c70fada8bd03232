r"""Mass and heat balances of a blast furnace with injection, differentiable and in float64.

All flows are in kmol per tonne of hot metal (tHM). The stations, from the tuyeres upwards:

1. *Carbon*: what the coke and the injectants bring to the tuyeres burns with the blast's oxygen to
   CO. That fixes the blast volume per tonne, and with the wind rate the production.
2. *Flame*: the enthalpy balance of the raceway, all oxygen as CO and all hydrogen as H2, gives the
   adiabatic flame temperature.
3. *Hearth*: the flame's gas, cooled to the thermal reserve zone, pays for direct reduction, for
   heating iron and slag, and for the losses of the hour. What is left heats the metal, most of it
   buffered by the reduction of silica.
4. *Shaft*: above the reserve zone the gas heats and dries the burden. Where its heat no longer
   suffices, the top gas stays at the temperature of the wet burden: there it depends on no setting.

docs/explanations/blast_furnace.md derives each step and says which numbers are measured, which are typical.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["Feed", "enthalpy", "feed", "flame_temperature", "outcomes"]

GAS_CONSTANT = 8.31446261815324e-3  # MJ / (kmol K)
ZERO_CELSIUS = 273.15  # K
MOLAR_VOLUME = 22.414  # Nm3 / kmol
MASS = {"C": 12.011, "H2": 2.016, "CH4": 16.043, "O": 15.999, "N2": 28.014}  # kg / kmol

# Enthalpy as a polynomial in T, seven coefficients of which the first six are needed here, below
# and above 1000 K. Gases: GRI-Mech 3.0 thermodynamic data (after B. J. McBride, S. Gordon and
# M. A. Reno, NASA TM-4513, 1993); graphite: NASA TM-4513.
NASA7 = {
    "O2": (
        (3.78245636, -2.99673416e-3, 9.84730201e-6, -9.68129509e-9, 3.24372837e-12, -1063.94356),
        (3.28253784, 1.48308754e-3, -7.57966669e-7, 2.09470555e-10, -2.16717794e-14, -1088.45772),
    ),
    "N2": (
        (3.298677, 1.4082404e-3, -3.963222e-6, 5.641515e-9, -2.444854e-12, -1020.8999),
        (2.92664, 1.4879768e-3, -5.68476e-7, 1.0097038e-10, -6.753351e-15, -922.7977),
    ),
    "CO": (
        (3.57953347, -6.1035368e-4, 1.01681433e-6, 9.07005884e-10, -9.04424499e-13, -14344.086),
        (2.71518561, 2.06252743e-3, -9.98825771e-7, 2.30053008e-10, -2.03647716e-14, -14151.8724),
    ),
    "H2": (
        (2.34433112, 7.98052075e-3, -1.9478151e-5, 2.01572094e-8, -7.37611761e-12, -917.935173),
        (3.3372792, -4.94024731e-5, 4.99456778e-7, -1.79566394e-10, 2.00255376e-14, -950.158922),
    ),
    "CH4": (
        (5.14987613, -1.36709788e-2, 4.91800599e-5, -4.84743026e-8, 1.66693956e-11, -10246.6476),
        (0.074851495, 1.33909467e-2, -5.73285809e-6, 1.22292535e-9, -1.0181523e-13, -9468.34459),
    ),
    "C": (
        (-0.310872072, 4.40353686e-3, 1.90394118e-6, -6.38546966e-9, 2.98964248e-12, -108.650794),
        (1.45571829, 1.71702216e-3, -6.97562786e-7, 1.35277032e-10, -9.67590652e-15, -695.138814),
    ),
}

# Pulverised coal: a typical low-volatile injection coal, mass fractions as fed.
COAL = {"C": 0.80, "H": 0.043, "O": 0.045, "N": 0.015, "ash": 0.097}
CO2_FORMATION, H2O_FORMATION = -393.51, -241.82  # MJ / kmol at 25 °C (CODATA)
HEATING_VALUE = 31.0  # MJ / kg, lower; typical of such a coal
COAL_ENTHALPY = (  # MJ / kg
    HEATING_VALUE + COAL["C"] / MASS["C"] * CO2_FORMATION + COAL["H"] / MASS["H2"] * H2O_FORMATION
)
ASH_CAPACITY = 1.1e-3  # MJ / (kg K), typical of a silicate melt
STORAGE = 25.0 + ZERO_CELSIUS  # K: at which coal and natural gas come

COKE_CARBON = 0.87  # kg / kg, typical
COKE_TEMPERATURE = 1500.0 + ZERO_CELSIUS  # K: of the coke that reaches the raceway, usual in RAFT
COKE_RATE = 468.0  # kg / tHM without injection, typical
COKE_LEAST = 230.0  # kg / tHM below which no burden column is permeable, typical
COKE_BEND = 25.0  # kg / tHM: width of the passage to it
REPLACED = {"coal": 0.90, "CH4": 1.05, "H2": 2.1}  # kg coke a kg, as operators count

DISSOLVED_CARBON = 45.0  # kg / tHM: 4.5 % C in hot metal
BURDEN_OXYGEN = 24.9  # kmol O / tHM: 945 kg Fe as Fe2O3 with some Fe3O4 and FeO
DIRECT_SHARE = 0.33  # of it reduced by carbon directly, without hydrogen
HYDROGEN_RELIEF = 40.0  # kmol H2 / tHM by which direct reduction falls to 1/e, from plant trends
DIRECT_HEAT = 152.0  # MJ / kmol O for FeO + C -> Fe + CO at 900 °C
HYDROGEN_USE = 0.40  # share of H2 that ends as H2O, typical
HYDROGEN_HEAT = 24.0  # MJ / kmol H2 for FeO + H2 -> Fe + H2O
MONOXIDE_HEAT = -17.0  # MJ / kmol CO for FeO + CO -> Fe + CO2

RESERVE = 900.0 + ZERO_CELSIUS  # K: thermal reserve zone
METAL_BASE = 1480.0  # °C: about which the hearth's balance is linearised
METAL_HEAT = 1000.0 * 0.80e-3 * (1480.0 - 900.0) + 260.0  # MJ / tHM: heating and melting iron
SLAG_MASS = 280.0  # kg / tHM, typical
SLAG_HEAT = SLAG_MASS * (1.25e-3 * (1480.0 - 900.0) + 0.21)  # MJ / tHM
ALLOY_HEAT = 240.0  # MJ / tHM: reduction of silicon, manganese and phosphorus at the base point
LOSSES = 75.0e3  # MJ / h, of the hearth and the bosh, typical of a furnace this size
METAL_CAPACITY = 1000.0 * 0.80e-3 + SLAG_MASS * 1.25e-3  # MJ / (tHM K)
SILICON_BUFFER = 5.2  # MJ / (tHM K): SiO2 + 2C -> Si + 2CO takes 26 MJ/kg, 0.2 kg/(tHM K)

BURDEN_CAPACITY = 1650.0 * 0.935e-3  # MJ / (tHM K): ore, sinter and flux
COKE_CAPACITY = 1.30e-3  # MJ / (kg K)
SHAFT_LOSSES = 27.0e3  # MJ / h, of shaft and top, typical
MOISTURE = 95.0  # kg / tHM in ore, flux and coke, typical of a wet yard
EVAPORATION = 2.55  # MJ / kg
WET_BURDEN = 62.0  # °C: dew point of a top gas with about a fifth of water vapour
DRYING_BEND = 6.0  # K: width of the passage to the wet plateau
SHAFT_CAPACITY = {"N2": 31.3e-3, "CO": 31.6e-3, "CO2": 50.1e-3, "H2": 29.7e-3, "H2O": 38.5e-3}
"""Mean molar heat capacity between 100 and 900 °C, MJ / (kmol K), from the same data."""


def outcomes(x: Tensor) -> Tensor:
    """Compute the outcomes of settings x (*, 7), without measurement noise: (*, 5).

    x holds H2, pulverised coal and natural gas in kg/tHM, O2 of the blast in %, temperatures of the
    H2 and of the blast in °C, and wind in thousand Nm3/h. The outcomes are the temperatures of top
    gas and hot metal (°C), the production (t/day), the adiabatic flame temperature (°C) and the coke
    rate (kg/tHM).
    """
    f = feed(x)
    flame = flame_temperature(f)
    production = 1000.0 * x[..., 6] / f.blast  # tHM / h
    metal = _metal_temperature(f, flame, production)
    top = _top_temperature(f, production)
    return torch.stack([top, metal, 24.0 * production, flame - ZERO_CELSIUS, f.coke], dim=-1)


class Feed(NamedTuple):
    """Flows that meet in the raceway, per tonne of hot metal; each of shape (*,)."""

    blast: Tensor  # Nm3
    oxygen: Tensor  # O2 of the blast, kmol
    nitrogen: Tensor  # N2 of the blast and of the coal, kmol
    coke: Tensor  # coke rate, kg
    coke_carbon: Tensor  # carbon of the coke that burns, kmol
    coal: Tensor  # injected, kg
    methane: Tensor  # injected natural gas, kmol
    hydrogen: Tensor  # injected H2, kmol
    direct: Tensor  # burden oxygen that carbon reduces directly, kmol
    blast_temperature: Tensor  # K
    hydrogen_temperature: Tensor  # of the injected H2, K
    bosh_hydrogen: Tensor  # all H2 in the raceway's gas, kmol
    burnt_carbon: Tensor  # all carbon in the raceway's gas, kmol


def feed(x: Tensor) -> Feed:
    """Return the flows at settings x (*, 7), by the carbon balance."""
    h2, coal, gas, o2, h2_temperature, blast_temperature, _ = x.unbind(-1)
    hydrogen, methane = h2 / MASS["H2"], gas / MASS["CH4"]
    replaced = REPLACED["H2"] * h2 + REPLACED["coal"] * coal + REPLACED["CH4"] * gas
    spare = (COKE_RATE - replaced - COKE_LEAST) / COKE_BEND
    coke = COKE_LEAST + COKE_BEND * softplus(spare)
    bosh_hydrogen = hydrogen + 2.0 * methane + coal * COAL["H"] / MASS["H2"]
    direct = DIRECT_SHARE * BURDEN_OXYGEN * torch.exp(-bosh_hydrogen / HYDROGEN_RELIEF)
    coke_carbon = (COKE_CARBON * coke - DISSOLVED_CARBON) / MASS["C"] - direct
    burnt_carbon = coke_carbon + methane + coal * COAL["C"] / MASS["C"]
    oxygen = (burnt_carbon - coal * COAL["O"] / MASS["O"]) / 2.0
    blast = oxygen * MOLAR_VOLUME / (o2 / 100.0)
    nitrogen = blast * (1.0 - o2 / 100.0) / MOLAR_VOLUME + coal * COAL["N"] / MASS["N2"]
    return Feed(
        blast=blast,
        oxygen=oxygen,
        nitrogen=nitrogen,
        coke=coke,
        coke_carbon=coke_carbon,
        coal=coal,
        methane=methane,
        hydrogen=hydrogen,
        direct=direct,
        blast_temperature=blast_temperature + ZERO_CELSIUS,
        # Where no H2 is blown its temperature is given as 0 and multiplies a flow of zero.
        hydrogen_temperature=h2_temperature.clamp(min=0.0) + ZERO_CELSIUS,
        bosh_hydrogen=bosh_hydrogen,
        burnt_carbon=burnt_carbon,
    )


def enthalpy(species: str, temperature: Tensor) -> Tensor:
    """Return the molar enthalpy at temperatures (*,) in K, heat of formation included, in MJ/kmol."""
    t = temperature
    low, high = (
        t * (a[0] + t * (a[1] / 2 + t * (a[2] / 3 + t * (a[3] / 4 + t * a[4] / 5)))) + a[5]
        for a in NASA7[species]
    )
    return GAS_CONSTANT * torch.where(t < 1000.0, low, high)


def flame_temperature(f: Feed) -> Tensor:
    """Return the raceway's adiabatic flame temperature, K, shape (*,)."""
    # All oxygen leaves as CO and all hydrogen as H2: there is excess carbon at such temperatures.
    brought = (
        f.oxygen * enthalpy("O2", f.blast_temperature)
        + f.nitrogen * enthalpy("N2", f.blast_temperature)
        + f.coke_carbon * enthalpy("C", torch.full_like(f.coke, COKE_TEMPERATURE))
        + f.methane * enthalpy("CH4", torch.full_like(f.coke, STORAGE))
        + f.hydrogen * enthalpy("H2", f.hydrogen_temperature)
        + f.coal * COAL_ENTHALPY
    )
    with torch.no_grad():
        t = torch.full_like(brought, 2500.0)
        for _ in range(7):
            t = t - (_flame_enthalpy(f, t) - brought) / _flame_capacity(f, t)
    # Newton steps at the root move nothing but carry its derivatives: one step the first, and two
    # steps those up to the third, as the error squares with each step.
    for _ in range(2):
        t = t - (_flame_enthalpy(f, t) - brought) / _flame_capacity(f, t)
    return t


def _flame_enthalpy(f: Feed, t: Tensor) -> Tensor:
    return (
        f.burnt_carbon * enthalpy("CO", t)
        + f.bosh_hydrogen * enthalpy("H2", t)
        + f.nitrogen * enthalpy("N2", t)
        + f.coal * COAL["ash"] * ASH_CAPACITY * (t - STORAGE)
    )


def _flame_capacity(f: Feed, t: Tensor) -> Tensor:
    return _flame_enthalpy(f, t + 0.5) - _flame_enthalpy(f, t - 0.5)


def _metal_temperature(f: Feed, flame: Tensor, production: Tensor) -> Tensor:
    reserve = torch.full_like(flame, RESERVE)
    gas = sum(
        flow * (enthalpy(species, flame) - enthalpy(species, reserve))
        for species, flow in (("CO", f.burnt_carbon), ("H2", f.bosh_hydrogen), ("N2", f.nitrogen))
    )
    hot_coke = torch.full_like(flame, COKE_TEMPERATURE)
    coke = f.coke_carbon * (enthalpy("C", hot_coke) - enthalpy("C", reserve))
    spent = DIRECT_HEAT * f.direct + METAL_HEAT + SLAG_HEAT + ALLOY_HEAT + LOSSES / production
    return METAL_BASE + (gas - coke - spent) / (METAL_CAPACITY + SILICON_BUFFER)


def _top_temperature(f: Feed, production: Tensor) -> Tensor:
    water = HYDROGEN_USE * f.bosh_hydrogen
    dioxide = BURDEN_OXYGEN - f.direct - water
    monoxide = f.burnt_carbon + f.direct - dioxide
    capacity = (
        SHAFT_CAPACITY["N2"] * f.nitrogen
        + SHAFT_CAPACITY["CO"] * monoxide
        + SHAFT_CAPACITY["CO2"] * dioxide
        + SHAFT_CAPACITY["H2"] * (f.bosh_hydrogen - water)
        + SHAFT_CAPACITY["H2O"] * water
    )
    solids = BURDEN_CAPACITY + COKE_CAPACITY * f.coke
    taken = (
        solids * (RESERVE - STORAGE)
        + HYDROGEN_HEAT * water
        + MONOXIDE_HEAT * dioxide
        + MOISTURE * EVAPORATION
        + SHAFT_LOSSES / production
    )
    dry = RESERVE - ZERO_CELSIUS - taken / capacity
    return WET_BURDEN + DRYING_BEND * softplus((dry - WET_BURDEN) / DRYING_BEND)
