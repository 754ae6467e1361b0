from enas_tf.benchmark.serving import serving


def test_measures_an_export(finished_run):
    folder, _ = finished_run
    result = serving(str(folder / "export/cifar_micro/1"), steps=1)
    assert list(result) == ["case", "device", "load_seconds", "latency_ms", "peak_rss_mb"]
    assert result["load_seconds"] > 0
    assert list(result["latency_ms"]) == ["1", "8", "64"]
    assert all(latency > 0 for latency in result["latency_ms"].values())
