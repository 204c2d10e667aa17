"""The `papernets` command: what a person types, sees and gets wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from papernets import records
from papernets.cli import main

SMALL = ["--set", "blocks=2", "--set", "width=4", "--epochs", "1"]


def test_list(capsys) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("polynet", "digits", "cifar10", "article", "reliable", "pi_net"):
        assert f"  {name}\n" in out


def test_help_has_examples(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    for command in ("list", "data", "train", "run", "results"):
        assert f"papernets {command}" in out


def test_examples_in_the_help_parse() -> None:
    from papernets.cli import EXAMPLES, parser

    lines = [line for line in EXAMPLES.splitlines() if line.startswith("  papernets")]
    assert len(lines) >= 6
    for line in lines:
        parser().parse_args(line.split("   ")[0].split()[1:])


def test_data(capsys) -> None:
    assert main(["data", "digits"]) == 0
    assert "digits: 1,257 training, 180 validation, 360 test" in capsys.readouterr().out


def test_train_then_results(tmp_path: Path, capsys) -> None:
    command = ["train", "polynet", *SMALL, "--out", str(tmp_path), "--threads", "1"]
    assert main([*command, "--set", "lr=0.002", "--set", "flip=true"]) == 0
    assert "test accuracy" in capsys.readouterr().out
    row = records.load(tmp_path).iloc[0]
    assert (row["model.width"], row["recipe.lr"], row["recipe.flip"]) == (4, 2e-3, True)
    assert main(["results", str(tmp_path)]) == 0
    assert "polynet" in capsys.readouterr().out
    assert main(["results", str(tmp_path), "--csv"]) == 0
    assert capsys.readouterr().out.startswith("key,experiment,model,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "polinet"], "did you mean 'polynet'"),
        (["train", "polynet", "--data", "cifar"], "no data set 'cifar'"),
        (["train", "polynet", "--recipe", "best"], "no recipe 'best'; there are art"),
        (["train", "polynet", "--epochs", "0"], "--epochs is 0"),
        (["train", "polynet", "--set", "lr"], "--set 'lr' is not of the form"),
        (["train", "polynet", "--set", "lr=fast"], "lr is 'fast': Input should be"),
        (["train", "mlp10", "--set", "lr=inf"], "lr is inf: Input should be"),
        (["train", "mlp10", "--set", "width=nan"], "width is nan; it must be a finite"),
        (
            ["train", "mlp10", "--set", f"width={10**400}"],
            "width of mlp10 is 1000",
        ),
        (["train", "vgg_a", "--set", "in_channels=1"], "in_channels cannot be set: it"),
        (
            ["train", "resnet20", "--set", "budget_macs=x"],
            "budget_macs is 'x'; it ",
        ),
        (["train", "polynet", "--set", "bloks=2"], "polynet has no argument 'bloks'"),
        (["train", "polynet"], "8x8 images are too small for 5 blocks"),
        (
            ["train", "polynet", "--device", "warp"],
            "--device is 'warp'; it must be cpu",
        ),
        (
            ["train", "polynet", "--device", "meta"],
            "--device is 'meta'; it must be cpu",
        ),
        (
            ["run", "pi_net", "--device", "mps"],
            "--device is 'mps'; it must be cpu, cuda",
        ),
        (["survey", "--device", "cuda:"], "--device is 'cuda:'; it must"),
        (["train", "polynet", "--threads", "-2"], "--threads is -2; it must be from 1"),
        (["run", "pi_net", "--threads", "0"], "--threads is 0; it must be from 1 to"),
        (["survey", "--threads", "99999999999"], "--threads is 99999999999; it must"),
        (
            ["train", "polynet", "--seed", "-1"],
            "--seed is -1; it must be from 0 to 2^64",
        ),
        (
            ["train", "polynet", "--seed", str(2**64)],
            "--seed is 18446744073709551",
        ),
        (["run", "pi_nets"], "no chapter 'pi_nets'; there are pi_net"),
        (["run", "pi_net", "--study", "x"], "no study 'x'; there are article"),
        (["run", "pi_net", "--jobs", "0"], "--jobs is 0"),
        (["survey", "--plan", "x"], "no plan 'x'; there are equal, full"),
        (["survey", "--budget-minutes", "0"], "--budget-minutes is 0"),
        (["results", "nowhere"], "nowhere is no folder of records"),
        (["results", "."], ". holds no records"),
    ],
)
def test_a_bad_argument_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("papernets: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_gpu_is_one_line(capsys, monkeypatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled\nsee above")

    monkeypatch.setattr("torch.zeros", missing)
    assert main(["train", "polynet", "--device", "cuda:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "device 'cuda:1' cannot be used here (Torch not compiled with" in line
    assert line.endswith("use --device cpu")


def test_survey_stops_in_time(tmp_path: Path, capsys) -> None:
    """Too little time for a single epoch: nothing is begun, nothing is lost."""
    command = ["survey", "--plan", "equal", "--budget-minutes", "1e-6"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "0 of 78 runs of the plan have records\n"
    assert not (tmp_path / "out").exists()


def test_an_error_of_our_own_is_not_hidden(monkeypatch) -> None:
    from papernets import models

    monkeypatch.setattr(models, "list_models", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_termination_leaves_no_half_written_file(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    """As by `kill`, at the worst moment; the record of before is still there."""
    command = ["train", "polynet", *SMALL, "--out", str(tmp_path)]
    fsync = os.fsync

    def terminated(handle: int) -> None:
        fsync(handle)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "fsync", terminated)
    assert main(command) == 143
    err = capsys.readouterr().err
    assert err == "terminated; the same command continues the run\n"
    assert not list(tmp_path.rglob("*.json*"))
    assert not [name for name in tmp_path.rglob("*.pt*") if name.name[0] == "."]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m papernets.cli list | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("models:\n", "")


def test_unwritable_out_is_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "below")
    assert main(["train", "polynet", *SMALL, "--out", out]) == 2
    assert "file" in capsys.readouterr().err
