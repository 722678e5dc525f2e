"""Metrics are summed over the labels that are not asked for."""

from prometheus_client import CollectorRegistry, Counter, start_http_server

from benchmarks.scrape import scrape, total


def test_a_metric_is_summed_over_its_labels() -> None:
    registry = CollectorRegistry()
    ended = Counter("ended", "Requests ended.", ["model", "outcome"], registry=registry)
    ended.labels("a", "ok").inc(1)
    ended.labels("b", "ok").inc(20)
    ended.labels("b", "cancelled").inc(300)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        samples = scrape(f"http://127.0.0.1:{server.server_port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert total(samples, "ended_total") == 321
    assert total(samples, "ended_total", model="b") == 320
    assert total(samples, "ended_total", model="b", outcome="ok") == 20
    assert total(samples, "ended_total", model="c") == total(samples, "ended") == 0
