"""Five published tariffs as TOML, a month of each worked out by hand."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from config.tariff_files import load_tariff_file
from daemon.billing.many import amounts_fen, month_of
from daemon.billing.pricing import Terms, amounts, rounded_fen
from daemon.billing.use import USE_DECIMALS, NoPrice, Use

FOLDER = Path(__file__).parents[2] / "data" / "tariffs"
JUNE = date(2026, 6, 1)
WHOLE_JUNE = [JUNE + timedelta(days=number) for number in range(30)]


def terms(name: str, phases: int = 1, used_elsewhere: Mapping[str, Decimal] | None = None) -> Terms:
    versions = load_tariff_file(FOLDER / f"{name}.toml")[name]
    return Terms(versions, phases=phases, used_elsewhere=used_elsewhere or {})


def use(**kwh: str) -> Use:
    registers = {name: int(Decimal(it) * 10**USE_DECIMALS) for name, it in kwh.items()}
    return Use(JUNE, 0, registers, datetime(2026, 6, 1, tzinfo=UTC))


def priced(of: Terms, *uses: Use) -> dict[str, int]:
    found = amounts(of, uses, WHOLE_JUNE).charged
    return {stream.component: rounded_fen(yuan) for stream, yuan in found.items()}


@pytest.mark.parametrize(
    ("kwh", "fen"),
    [
        # 240 x 0.4883
        ("240", 11719),
        # 240 x 0.4883 + 160 x 0.5383
        ("400", 20332),
        # 240 x 0.4883 + 160 x 0.5383 + 41.20 x 0.7883 = 235.79796
        ("441.20", 23580),
    ],
)
def test_beijing_is_a_ladder_by_month(kwh: str, fen: int) -> None:
    assert priced(terms("beijing"), use(total=kwh)) == {"energy": fen}


def test_shanghai_is_time_of_use_under_a_ladder_by_year() -> None:
    used = terms("shanghai", used_elsewhere={"2026": Decimal(3000)})
    # 120 of 200 kWh at the first step: 0.6 x (140 x 0.617 + 60 x 0.307) = 62.88
    # 80 of 200 kWh at the second: 0.4 x (140 x 0.677 + 60 x 0.337) = 46.00
    assert priced(used, use(total="200", peak="140", valley="60")) == {"energy": 10888}


@pytest.mark.parametrize(
    ("kwh", "phases", "energy", "fixed"),
    [
        # 50 x 3.25 + 50 x 4.05 + 50 x 5.10 + 50 x 6.95 + 40 x 8.20
        ("240", 1, 129550, 13000),
        ("250", 1, 137750, 13000),
        # 250.01 x 6.40 = 1600.064
        ("250.01", 1, 160006, 15000),
        # 320 x 7.25
        ("320", 3, 232000, 21000),
        # 600 x 8.80
        ("600", 3, 528000, 26000),
    ],
)
def test_kerala_prices_the_whole_month_above_250_kwh(
    kwh: str, phases: int, energy: int, fixed: int
) -> None:
    found = priced(terms("kerala", phases=phases), use(total=kwh))
    assert found == {"energy": energy, "fixed": fixed}


def test_phases_without_a_fee_are_no_fee_of_nothing() -> None:
    one = (terms("kerala"), [use(total="240")], WHOLE_JUNE)
    other = (terms("kerala", phases=2), [use(total="240")], WHOLE_JUNE)
    with pytest.raises(NoPrice, match="has no fees of 2 phases"):
        amounts(*other)
    with pytest.raises(NoPrice, match="has no fees of 2 phases"):
        amounts_fen(month_of([one, other], JUNE))
    # Before a day is closed nobody asks for a fee.
    amounts_fen(month_of([one, (*other[:2], [])], JUNE))


def test_eskom_adds_vat_to_two_blocks() -> None:
    # 350 x 1.9028 + 50 x 2.1562 = 773.79; x 0.15 = 116.0685
    assert priced(terms("eskom"), use(total="400")) == {"energy": 77379, "tax": 11607}


def test_economy_7_bills_two_registers_and_every_day() -> None:
    # 300.5 x 0.3072 + 200.4 x 0.15 = 122.3736; 30 x 0.4366 = 13.098; VAT is inside
    found = priced(terms("economy7"), use(total="501", day="300.5", night="200.4"))
    assert found == {"energy": 12237, "fixed": 1310}


@pytest.mark.parametrize("name", ["beijing", "kerala", "eskom"])
def test_many_accounts_of_a_published_tariff_pay_what_each_does(name: str) -> None:
    of = terms(name)
    uses = [use(total=f"{kwh}.01") for kwh in range(0, 600, 7)]
    found = amounts_fen(month_of([(of, [it], WHOLE_JUNE) for it in uses], JUNE))
    each = [priced(of, it) for it in uses]
    assert {component: fen.tolist() for component, fen in found.items()} == {
        component: [it[component] for it in each] for component in each[0]
    }
