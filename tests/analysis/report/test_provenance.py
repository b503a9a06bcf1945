"""Provenance: shared settings are listed once, the others per run."""

from analysis.report.provenance import provenance_of


def test_provenance_splits_shared_values_from_those_of_each_run(make_record):
    one = make_record(seed=0, environment={"torch": "2", "device": "cpu"}, language_model="hub:judge")
    environment = {"torch": "2", "device": "gpu", "driver": "5"}
    two = make_record(seed=1, environment=environment, stopped="<b>why</b>")
    found = provenance_of([one, two])
    assert found["settings"] == [("trainer.beta", "0.0")] and found["versions"] == [("torch", "2")]
    assert [run["settings"] for run in found["runs"]] == [[("seed", "0")], [("seed", "1")]]
    versions = [[("device", "cpu")], [("device", "gpu"), ("driver", "5")]]
    assert [run["versions"] for run in found["runs"]] == versions
    first, second = (dict(run["facts"]) for run in found["runs"])
    assert first["language model (surprisal)"] == "hub:judge" and "stopped" not in first
    assert second["stopped"] == "<b>why</b>" and second["training steps"] == "12"
    assert first["generator"] == "miniature:qwen-1/pretrained" and first["seconds"] == "train 1.0"
