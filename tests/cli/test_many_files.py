# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and many files: which recordings, a result for each, and runs that are ended and go on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gnuradio.amc.cli import main

from tests.helpers.tiny_models import write_failing_model, write_model

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, str(REPOSITORY / "gr-amc" / "apps" / "amc_classify")]
RECORDS = ".amc_classify.jsonl"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def record(path, *means):
    """A window for each mean of I; 0.01 is LOW, 0.5 MIDDLE, 1 HIGH."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.repeat(np.array(means, np.complex64), 1024).tofile(path)


def endless(path):
    """At a hop of 1, longer than any test: 4 GiB of which nothing is on the disk."""
    with open(path, "wb") as file:
        file.truncate(4 << 30)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def results(folder="out"):
    """What lies in a folder and below, but for the records."""
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file() and path.name != RECORDS
    )


def identities(folder="out"):
    """A file that is written anew has another inode or time, whatever is in it."""
    found = {name: (Path(folder) / name).stat() for name in results(folder)}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


def written(before, after):
    return sorted(name for name in after if after[name] != before.get(name))


# --- which recordings, and where their results go --------------------------------------------------


def test_a_folder_is_searched_for_recordings(model, capsys):
    for name in (
        "b.cf32",
        "A/a.CFILE",
        "A/deep/x_cs16.raw",
        "A/gqrx_20240131_235959_433920000_2400000_fc.raw",
        "c.wav.fc32",
    ):
        record(f"in/{name}", 1)
    for name in (".hidden.cf32", ".hidden/a.cf32", "notes_cf32.txt", "result.cf32.jsonl", "untold.bin", "cf32"):
        record(f"in/{name}", 1)
    record("in/p.sigmf-data", 1)
    Path("in/p.sigmf-meta").write_text('{"global": {"core:datatype": "cf32_le", "core:version": "1.2.5"}}')
    Path("in/p.amc.sigmf-meta").write_text('{"global": {"core:datatype": "cf32_le", "core:dataset": "p.sigmf-data"}}')
    assert run("in", "--model", model, "--output-dir", "out") == 0
    assert results() == [
        "in/A/a.CFILE.txt",
        "in/A/deep/x_cs16.raw.txt",
        "in/A/gqrx_20240131_235959_433920000_2400000_fc.raw.txt",
        "in/b.cf32.txt",
        "in/c.wav.fc32.txt",
        "in/p.sigmf-meta.txt",
    ]
    # One after the other they are done in the order of their names, a folder behind the files beside it.
    said = re.findall(
        r"^\[\d/6\] in/(.*): 1 window|^\[\d/6\] in/(.*): 2 windows", capsys.readouterr().err, re.MULTILINE
    )
    assert ["".join(names)[:8] for names in said] == [
        "b.cf32",
        "c.wav.fc",
        "p.sigmf-",
        "A/a.CFIL",
        "A/gqrx_2",
        "A/deep/x",
    ]
    assert run("in", "--model", model, "--output-dir", "out", "--format", "cf32") == 0
    assert "in/untold.bin.txt" in results() and len(results()) == 7


def test_samples_that_metadata_name_are_read_through_these(model, capsys):
    for name in ("p.cf32", "q.cf32", "q.sigmf-data", "r.cf32"):
        record(f"in/{name}", 1)
    for name, dataset in (("p", "p.cf32"), ("q", "q.cf32"), ("q.amc", "q.cf32"), (".hidden", "r.cf32")):
        content = {"global": {"core:datatype": "cf32_le", "core:version": "1.2.5", "core:dataset": dataset}}
        Path(f"in/{name}.sigmf-meta").write_text(json.dumps(content))
    Path("in/s.sigmf-meta").write_text('{"global": {"core:dataset": "r.cf32"')
    os.mkfifo("in/t.sigmf-meta")
    assert run("in", "--model", model, "--output-dir", "out") == 1
    assert results() == [f"in/{name}.txt" for name in ("p.sigmf-meta", "q.sigmf-meta", "r.cf32")]
    assert "2 of 5 failed" in capsys.readouterr().err


def test_recordings_of_one_name_lie_apart(model, capsys):
    record("day1/x.cf32", 1)
    record("day2/x.cf32", 0.5, 0.5)
    options = ("--model", model, "--output", "json")
    assert run("day1/x.cf32", "day2/x.cf32", "--output-dir", "out", *options) == 1
    assert "day1/x.cf32 and day2/x.cf32 would both have the result out/x.cf32.jsonl" in capsys.readouterr().err
    assert not os.path.exists("out")
    assert run("day1/", "./day2", "day2", "day1/x.cf32", "day1/../day1/x.cf32", "--output-dir", "out", *options) == 0
    lines = {name: Path("out", name).read_text().count("\n") for name in results()}
    assert lines == {"day1/x.cf32.jsonl": 1, "day2/x.cf32.jsonl": 2, "x.cf32.jsonl": 1}
    os.chdir("day2")
    assert run(".", "--output-dir", "../above", *options) == 0
    assert results("../above") == ["day2/x.cf32.jsonl"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_those_of_runs_for_single_recordings(model, jobs):
    record("in/a_1Msps.cf32", 1, 0.5)
    record("in/b/a.cf32", 0.5, 0.5, 0.01)
    for output, ending in (("table", ".txt"), ("json", ".jsonl"), ("csv", ".csv"), ("sigmf", ".amc.sigmf-meta")):
        how = ("--model", model, "--output", output, "--hop", "300")
        assert run("in", "--output-dir", output, "--jobs", jobs, *how) == 0
        assert len(results(output)) == (4 if output == "sigmf" else 2)
        for path in (Path("in/a_1Msps.cf32"), Path("in/b/a.cf32")):
            single = Path("single", path.name + ending)
            single.parent.mkdir(exist_ok=True)
            assert run(path, "--out", single, *how) == 0
            made = Path(output, f"{path}{ending}")
            assert made.read_bytes() == single.read_bytes() != b""
            if output == "sigmf":
                assert os.path.samefile(made.with_suffix(".sigmf-data"), path)


@pytest.mark.parametrize("options", [(), ("--jobs", "2")])
def test_annotations_lie_beside_the_recordings(model, options, capsys):
    record("in/a.cf32", 1)
    record("in/b/a.cf32", 0.5)
    for done in ("2 recordings\n", "2 recordings, of which 2 done before\n"):
        assert run("in", "--model", model, "--output", "sigmf", *options) == 0
        printed = capsys.readouterr()
        assert printed.err.startswith(done) and printed.out == ""
    for folder, label in (("in", "HIGH"), ("in/b", "MIDDLE")):
        annotations = json.loads(Path(folder, "a.amc.sigmf-meta").read_text())["annotations"]
        assert [item["core:label"] for item in annotations] == [label]
    record("in/a.wav.cf32", 1)
    record("in/a.cs16", 1)
    assert run("in", "--model", model, "--output", "sigmf") == 1
    assert "would both have the result in/a.amc.sigmf-meta" in capsys.readouterr().err


# --- what is done again, and what is not -----------------------------------------------------------


def test_only_what_changed_is_done_again(tmp_path, model, capsys):
    record("in/a.cf32", 1)
    record("in/b.cf32", 0.5)
    copy = Path("model.onnx")
    copy.write_bytes(Path(model).read_bytes())

    def done(*options, inputs=("in",)):
        before = identities() if os.path.exists("out") else {}
        assert run(*inputs, "--model", copy, "--output", "json", "--output-dir", "out", *options) == 0
        return [name[3] for name in written(before, identities())]

    assert done() == ["a", "b"]
    assert done() == []
    assert "of which 2 done before" in capsys.readouterr().err
    assert done("--jobs", "2", "--threads", "2") == []
    assert done(inputs=(tmp_path / "in",)) == []
    record("in/c.cf32", 1)
    assert done() == ["c"]
    record("in/b.cf32", 1, 1)
    assert done() == ["b"]
    os.utime("in/a.cf32", ns=(1, 1))
    assert done() == ["a"]
    Path("out/in/b.cf32.jsonl").write_text("altered")
    assert done() == ["b"]
    Path("out/in/c.cf32.jsonl").unlink()
    assert done() == ["c"]
    assert done("--average", "2") == ["a", "b", "c"]
    assert done() == ["a", "b", "c"]
    write_model(copy, margin=9.0)
    assert done() == ["a", "b", "c"]
    # Half a line is what a killed run leaves.
    records = Path("out/in", RECORDS)
    lines = records.read_bytes()
    records.write_bytes(lines[:-20])
    assert done() == ["c"]
    assert done() == []
    broken = (b"[]", b"7", b"\xff{", b'{"result": ["c.cf32.jsonl"]}', b'{"result": "c.cf32.jsonl", "files": 7}')
    records.write_bytes(records.read_bytes() + b"\n".join(broken))
    assert done() == ["c"]
    # The same name and size, and the same time, yet not the same recording.
    record("other/in/a.cf32", 0.5)
    os.utime("other/in/a.cf32", ns=(1, 1))
    assert done(inputs=("other/in",)) == ["a"]
    assert "MIDDLE" in Path("out/in/a.cf32.jsonl").read_text()


def test_metadata_that_changed_is_a_recording_that_changed(model):
    record("in/p.sigmf-data", 1)
    meta = Path("in/p.sigmf-meta")
    meta.write_text('{"global": {"core:datatype": "cf32_le", "core:version": "1.2.5"}}')
    how = ("in", "--model", model, "--output", "json", "--output-dir", "out")
    assert run(*how) == 0
    before = identities()
    meta.write_text('{"global": {"core:datatype": "cf32_le", "core:version": "1.2.5", "core:sample_rate": 10.0}}')
    assert run(*how) == 0
    assert written(before, identities()) == ["in/p.sigmf-meta.jsonl"]
    before = identities()
    os.utime("in/p.sigmf-data", ns=(1, 1))
    assert run(*how) == 0
    assert written(before, identities()) == ["in/p.sigmf-meta.jsonl"]


# --- runs that are ended ---------------------------------------------------------------------------


def begin(*arguments, **options):
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )


def done_recordings(process, count):
    """The first ``count`` recordings that a run says are done."""
    names = []
    while len(names) < count:
        line = process.stderr.readline()
        assert line, "it ended too early"
        names += re.findall(r"^\[\d+/\d+\] (.*): 1 window", line)
    return names


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_gone(pids):
    def gone(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(lambda: all(map(gone, pids)))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on_where_it_was(model, jobs):
    names = [f"in/{n}.cf32" for n in range(8)]
    for name in names:
        record(name, 1)
    endless(names[3])
    how = ("in", "--model", model, "--output", "json", "--output-dir", "out", "--hop", "1", "--jobs", jobs)
    with begin(*how) as process:
        done = done_recordings(process, 3)
        wait_until(lambda: list(Path("out/in").glob(".3.cf32.jsonl.*.tmp")))
        workers = children(process)
        process.kill()
    wait_until_gone(workers)
    before = identities()
    assert names[3] not in done and {f"{name}.jsonl" for name in done} <= set(before)
    unfinished = [name for name in before if name.endswith(".tmp")]
    # What is killed cannot clean up behind itself, but its processes do.
    assert len(unfinished) == (1 if jobs == 1 else 0)
    record(names[3], 0.5)
    assert run(*how) == 0
    after = identities()
    assert sorted(after) == [f"{name}.jsonl" for name in names]
    assert not {f"{name}.jsonl" for name in done} & set(written(before, after))
    for name in names:
        assert [json.loads(line)["label"] for line in Path(f"out/{name}.jsonl").open()] == [
            "MIDDLE" if name == names[3] else "HIGH"
        ]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_leaves_whole_results_only(model, stop, jobs):
    record("in/a.cf32", 1)
    for name in ("b", "c", "d"):
        endless(f"in/{name}.cf32")
    how = ("in", "--model", model, "--output-dir", "out", "--hop", "1", "--jobs", jobs)
    with begin(*how, start_new_session=True) as process:
        done_recordings(process, 1)
        workers = children(process)
        # A terminal sends its signals to all processes of the run, another program to the one that it knows.
        (os.kill if stop == signal.SIGTERM else os.killpg)(process.pid, stop)
        said = process.stderr.read()
    assert process.returncode == 128 + stop
    assert [line for line in said.splitlines() if not line.startswith(" ")] == ["amc_classify: interrupted."]
    wait_until_gone(workers)
    assert results() == ["in/a.cf32.txt"]


def test_a_process_that_is_killed_fails_one_recording(model):
    for name in "bcde":
        record(f"in/{name}.cf32", 1)
    endless("in/a.cf32")
    how = ("in", "--model", model, "--output-dir", "out", "--hop", "1", "--jobs", "2")
    with begin(*how) as process:
        done_recordings(process, 4)  # all but the one that is still at work
        workers = [pid for pid in children(process) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        said = process.stderr.read()
    assert process.returncode == 1
    assert "[5/5] in/a.cf32: its process ended early" in said and "Traceback" not in said
    assert [name for name in results() if not name.endswith(".tmp")] == [f"in/{name}.cf32.txt" for name in "bcde"]


# --- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_damaged_recording_does_not_stop_the_others(tmp_path, jobs, capfd):
    failing = write_failing_model(tmp_path / "failing.onnx")
    for name in ("a", "b/c", "f"):
        record(f"in/{name}.cf32", 1)
    Path("in/d.cf32").write_bytes(b"123")
    record("in/e.cf32", 1, 101)
    how = ("in", "none.cf32", "--model", failing, "--output-dir", "out", "--jobs", jobs)
    assert run(*how) == 1
    said = capfd.readouterr().err
    assert said.count("in/d.cf32 holds 3 bytes") == said.count("there is no file none.cf32") == 1
    assert re.search(r"^\[\d/6\] in/e.cf32: the model .* failed in inference", said, re.MULTILINE)
    assert said.splitlines()[-1].startswith("amc_classify: 3 of 6 failed") and "Traceback" not in said
    assert results() == [f"in/{name}.cf32.txt" for name in ("a", "b/c", "f")]
    before = identities()
    assert run(*how) == 1
    assert identities() == before
    record("in/d.cf32", 1)
    record("in/e.cf32", 1)
    record("none.cf32", 1)
    assert run(*how) == 0
    assert written(before, identities()) == ["in/d.cf32.txt", "in/e.cf32.txt", "none.cf32.txt"]


def test_names_that_are_too_long_do_not_stop_the_others(model, capsys):
    long = "x" * 250 + ".cf32"  # whose result would have one more
    record(f"in/{long}", 1)
    record("in/y.cf32", 1)
    assert run("in", "z" * 256, "--model", model, "--output-dir", "out") == 1
    said = capsys.readouterr().err
    assert said.count("File name too long") == 2 and "2 of 3 failed" in said
    assert results() == ["in/y.cf32.txt"]


def test_an_output_folder_that_cannot_be_written_is_known_before_the_work(model, capsys):
    record("in/a.cf32", 1)
    Path("file").touch()
    for folder, reason in (("file", "Not a directory"), ("file/out", "Not a directory"), ("/proc/out", "No such file")):
        assert run("in", "--model", model, "--output-dir", folder) == 1
        said = capsys.readouterr().err
        assert f"amc_classify: {folder}/in cannot be written: {reason}" in said
        assert "[1/1]" not in said
    Path("out/in/a.cf32.txt").mkdir(parents=True)
    assert run("in", "--model", model, "--output-dir", "out") == 1
    assert "out/in/a.cf32.txt cannot be written: it is a folder" in capsys.readouterr().err


def test_a_recording_is_never_overwritten(model, capsys):
    record("a.cf32", 1)
    record("a.cf32.txt", 1)
    before = Path("a.cf32.txt").read_bytes()
    assert run("a.cf32", "a.cf32.txt", "--format", "cf32", "--model", model, "--output-dir", ".") == 1
    assert "never overwritten" in capsys.readouterr().err
    assert Path("a.cf32.txt").read_bytes() == before


def test_a_folder_without_recordings_gets_a_sentence(model, capsys):
    record("in/.hidden.cf32", 1)
    assert run("in", "--model", model, "--output-dir", "out") == 1
    assert "there is no recording in in; name files" in capsys.readouterr().err
    assert not os.path.exists("out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_said(model, capsys):
    record("in/a.cf32", 1)
    record("in/shut/a.cf32", 1)
    os.chmod("in/shut", 0)
    try:
        assert run("in", "--model", model, "--output-dir", "out") == 1
    finally:
        os.chmod("in/shut", 0o700)
    assert "the folder in/shut cannot be read" in capsys.readouterr().err
    assert results() == ["in/a.cf32.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.cf32", "--jobs", "2"], "need --output-dir"),
        (["a.cf32", "--dask", "localhost:1", "--output", "json"], "need --output-dir"),
        (["a.cf32", "--jobs", "0", "--output-dir", "out"], "--jobs: '0'"),
        (["a.cf32", "--jobs", "2", "--dask", "localhost:1", "--output-dir", "out"], "not allowed with"),
        (["a.cf32", "--output-dir", ""], "--output-dir needs the path of a folder"),
        (["a.cf32", "--output-dir", "out", "--out", "a.txt"], "--out and --plot are for single recordings"),
        (["a.cf32", "--output-dir", "out", "--plot", "a.png"], "--out and --plot are for single recordings"),
        ([".", "--output", "sigmf", "--out", "a.sigmf-meta"], "--out and --plot are for single recordings"),
    ],
)
def test_wrong_usage_gets_a_sentence(capsys, arguments, said):
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


# --- Dask ------------------------------------------------------------------------------------------


def test_without_dask_a_sentence_says_what_to_install(model, monkeypatch, capsys):
    record("a.cf32", 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run("a.cf32", "--model", model, "--output-dir", "out", "--dask", "localhost:8786") == 1
    assert "pip install distributed" in capsys.readouterr().err


def test_a_dask_cluster_makes_the_same_results(tmp_path, model):
    distributed = pytest.importorskip("distributed", reason="the Python package distributed is not installed")
    for number in range(6):
        record(f"in/{number}.cf32", *[1, 0.5][: 1 + number % 2])
    Path("in/9.cf32").write_bytes(b"123")
    Path("tiny.onnx").write_bytes(Path(model).read_bytes())
    how = ("in", "--model", "tiny.onnx", "--output", "json")
    assert run(*how, "--output-dir", "here") == 1
    cluster = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
        local_directory=tmp_path / "dask",
    )
    with cluster:
        os.chdir("/")  # the cluster's folder is not that of the run
        with begin(*how, "--output-dir", "out", "--dask", cluster.scheduler_address, cwd=tmp_path) as process:
            said = process.stderr.read()
        assert process.returncode == 1
        assert f"{tmp_path}/in/9.cf32 holds 3 bytes" in said and "1 of 7 failed" in said
        os.chdir(tmp_path)
        assert len(results()) == 6 and results() == results("here")
        for name in results():
            assert Path("out", name).read_bytes() == Path("here", name).read_bytes()
        before = identities()
        Path("in/9.cf32").unlink()
        assert run(*how, "--output-dir", "out", "--dask", cluster.scheduler_address) == 0
        assert identities() == before
        assert run("in", "--model", model, "--output-dir", "out", "--jobs", "1", "--output", "json") == 0
        assert identities() == before


def test_a_dask_scheduler_that_is_not_there_gets_a_sentence(model, capsys):
    pytest.importorskip("distributed", reason="the Python package distributed is not installed")
    import dask

    record("a.cf32", 1)
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        for address in ("tcp://127.0.0.1:1", "nonsense://x"):
            assert run("a.cf32", "--model", model, "--output-dir", "out", "--dask", address) == 1
            assert f"the Dask scheduler {address} cannot be reached" in capsys.readouterr().err
