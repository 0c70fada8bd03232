import numpy as np
import pytest
import torch

from lightning_invert import batched_jacobian, condition_number, numerical_rank, singular_values
from lightning_invert.problems import BlastFurnace, furnace_balance as furnace

PROBLEM = BlastFurnace()
X = PROBLEM.sample(400, seed=5)
TYPICAL = torch.tensor([12.5, 18.6, 41.3, 25.6, 900.0, 1400.0, 199.0], dtype=torch.float64)
TOP, METAL, PRODUCTION, FLAME = range(4)


def sensitivity(name, output, at=TYPICAL):
    jacobian = batched_jacobian(furnace.outcomes, at[None])[0]
    return jacobian[output, [v.name for v in PROBLEM.inputs].index(name)].item()


def cantera_flame(points, *, equilibrium):
    """The same feed, burnt at constant pressure and enthalpy by Cantera: temperature in K."""
    import cantera

    gas = cantera.Solution("gri30.yaml")
    f = furnace.feed(points)
    ours = furnace.flame_temperature(f)
    # Cantera's gas holds no ash: the ash takes its heat at our temperature.
    ash = f.coal * furnace.COAL["ash"] * furnace.ASH_CAPACITY * (ours - furnace.STORAGE)
    feeds = {
        "O2": (f.oxygen, f.blast_temperature),
        "N2": (f.nitrogen, f.blast_temperature),
        "CH4": (f.methane, torch.full_like(ours, furnace.STORAGE)),
        "H2": (f.hydrogen, f.hydrogen_temperature),
    }
    burnt = {"CO": f.burnt_carbon, "H2": f.bosh_hydrogen, "N2": f.nitrogen}
    coke = cantera.Solution("graphite.yaml")
    coke.TP = furnace.COKE_TEMPERATURE, 4e5
    found = []
    for i in range(len(points)):
        heat = 0.0  # J
        for name, (flow, temperature) in feeds.items():
            gas.TPX = temperature[i].item(), 4e5, {name: 1.0}
            heat += flow[i].item() * gas.enthalpy_mole
        heat += f.coke_carbon[i].item() * coke.enthalpy_mole
        heat += 1e6 * (f.coal * furnace.COAL_ENTHALPY - ash)[i].item()
        flows = {name: flow[i].item() for name, flow in burnt.items()}
        gas.TPX = 2000.0, 4e5, flows
        gas.HP = heat / (sum(flows.values()) * gas.mean_molecular_weight), 4e5
        if equilibrium:
            gas.equilibrate("HP")
        found.append(gas.T)
    return ours.numpy(), np.array(found)


def test_flame_is_that_of_cantera_for_the_same_products():
    ours, theirs = cantera_flame(X[:100], equilibrium=False)
    np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_flame_is_above_that_of_full_equilibrium_by_its_dissociation_alone():
    ours, theirs = cantera_flame(X[:100], equilibrium=True)
    excess = ours - theirs
    assert (excess > 0).all()
    assert excess.max() < 75  # at 3000 K; hydrogen and carbon monoxide begin to fall apart
    assert excess[ours < 2500].max() < 30


@pytest.mark.parametrize("species", ["O2", "N2", "CO", "H2", "CH4", "C"])
def test_enthalpies_are_those_of_cantera(species):
    import cantera

    file, name = ("graphite.yaml", "C(gr)") if species == "C" else ("gri30.yaml", species)
    phase = cantera.Solution(file)
    temperatures = np.linspace(300.0, 3000.0, 28)
    expected = []
    for t in temperatures:
        phase.TPX = t, 1e5, {name: 1.0}
        expected.append(phase.enthalpy_mole / 1e6)
    found = furnace.enthalpy(species, torch.tensor(temperatures))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


def test_mean_heat_capacities_of_the_shaft_are_those_of_cantera():
    import cantera

    gas = cantera.Solution("gri30.yaml")
    for name, capacity in furnace.SHAFT_CAPACITY.items():
        enthalpies = []
        for t in (373.15, 1173.15):
            gas.TPX = t, 1e5, {name: 1.0}
            enthalpies.append(gas.enthalpy_mole / 1e6)
        assert capacity == pytest.approx((enthalpies[1] - enthalpies[0]) / 800, rel=0.01), name


def test_carbon_oxygen_and_nitrogen_balance():
    f = furnace.feed(X)
    coal = furnace.COAL
    oxygen = 2 * f.oxygen + f.coal * coal["O"] / furnace.MASS["O"]
    torch.testing.assert_close(oxygen, f.burnt_carbon)  # every oxygen leaves as CO
    coke_carbon = furnace.COKE_CARBON * f.coke / furnace.MASS["C"]
    spent = f.coke_carbon + f.direct + furnace.DISSOLVED_CARBON / furnace.MASS["C"]
    torch.testing.assert_close(coke_carbon, spent)
    in_blast = f.nitrogen - f.coal * coal["N"] / furnace.MASS["N2"]
    volume = (f.oxygen + in_blast) * furnace.MOLAR_VOLUME
    torch.testing.assert_close(volume, f.blast)


def test_production_is_wind_over_blast_volume():
    f = furnace.feed(X)
    expected = 24 * 1000 * X[:, 6] / f.blast
    torch.testing.assert_close(furnace.outcomes(X)[:, PRODUCTION], expected)


@pytest.mark.parametrize(
    ("name", "output", "low", "high"),
    [
        ("pulverised_coal", FLAME, -2.5, -0.8),  # K a kg/tHM; 1 to 2.5 are usual
        ("natural_gas", FLAME, -8.0, -4.0),
        ("h2_injection", FLAME, -25.0, -8.0),
        ("o2_fraction", FLAME, 10.0, 60.0),
        ("hot_blast_temperature", FLAME, 0.5, 0.9),
        ("h2_temperature", FLAME, 0.0, 0.3),
        ("wind_rate", FLAME, 0.0, 0.0),
        ("wind_rate", PRODUCTION, 20.0, 35.0),
        ("o2_fraction", PRODUCTION, 100.0, 300.0),
        ("hot_blast_temperature", METAL, 0.05, 0.6),
        ("o2_fraction", TOP, -40.0, -1.0),
    ],
)
def test_outcomes_answer_as_a_furnace_engineer_expects(name, output, low, high):
    assert low <= sensitivity(name, output) <= high


def test_outcomes_stay_where_furnaces_work():
    y = furnace.outcomes(X)
    assert y.isfinite().all()
    for output, low, high in ((TOP, 60, 300), (METAL, 1350, 1720), (FLAME, 1700, 2800)):
        assert low <= y[:, output].min()
        assert y[:, output].max() <= high


def test_gradients_are_finite_where_nothing_is_injected():
    bare = torch.tensor([[0.0, 0.0, 0.0, 21.0, 0.0, 1200.0, 150.0]], dtype=torch.float64)
    assert batched_jacobian(furnace.outcomes, bare).isfinite().all()


def standardised_spectrum(points):
    data = PROBLEM.sample(2000, seed=0)
    spread = data.std(0), PROBLEM.forward(data).std(0)
    jacobian = batched_jacobian(PROBLEM.outcomes, points) * spread[0] / spread[1][:, None]
    return singular_values(jacobian)


def test_most_of_the_domain_is_well_conditioned():
    sigma = standardised_spectrum(X)
    cond = condition_number(sigma)
    assert 3 < cond.median() < 30
    assert (cond < 100).double().mean() > 0.9
    assert (numerical_rank(sigma) == 4).double().mean() > 0.99


def test_conditioning_is_bad_where_the_top_gas_only_dries_the_burden():
    starved = torch.tensor([[60.0, 0.0, 0.0, 32.0, 200.0, 1400.0, 180.0]], dtype=torch.float64)
    assert furnace.outcomes(starved)[0, TOP] - furnace.WET_BURDEN < 0.01
    assert condition_number(standardised_spectrum(starved)) > 1e4
