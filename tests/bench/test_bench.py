"""The bench runs, and its server is as strict as it says."""

from __future__ import annotations

from bench.__main__ import bench, line
from bench.botapi.fast import Server
from bench.botapi.meter import Arrivals
from bench.tools import Result


def test_the_claim_bench_prints_a_line_with_its_goal(capsys, monkeypatch):
    monkeypatch.setattr("bench.tools.Run.size", lambda self, full, quick: 300)
    monkeypatch.setattr("bench.claim._SHORT", 300)
    monkeypatch.setattr("bench.claim._TURNS", 5)

    assert bench(quick=True, only=["claim"]) == 0

    assert "claim at 300 rows against 300" in capsys.readouterr().out


def test_the_places_bench_opens_holds_and_calls_off(capsys, monkeypatch):
    monkeypatch.setattr("bench.tools.Run.size", lambda self, full, quick: 600)
    monkeypatch.setattr("bench.places._TICK", 0.0)

    assert bench(quick=True, only=["places"]) == 0

    said = capsys.readouterr().out
    assert "597 places: approved in" in said and said.count("longest wait to write") == 3


def test_the_uploads_bench_counts_uploads(capsys, monkeypatch):
    monkeypatch.setattr("bench.tools.Run.size", lambda self, full, quick: 6)

    assert bench(quick=True, only=["uploads"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert "uploads of one file to 6" in said[0]
    assert said[1].split()[-1] == "6", "python-telegram-bot sends the file each time"


def test_a_bench_nobody_knows_is_named(capsys):
    assert bench(quick=True, only=["clam"]) == 2

    assert "clam" in capsys.readouterr().err


def test_no_sliding_second_takes_more_than_the_rate():
    arrivals = Arrivals(rate=2)

    waits = [arrivals.take(at) for at in (0.5, 1.0, 1.4, 1.6, 1.9, 2.1)]

    assert [round(wait, 1) for wait in waits] == [0, 0, 0.1, 0, 0.1, 0]


def test_a_refusal_says_when_to_come_back():
    server = Server(rate=1, latency=0)

    server.answer(b"/bot1:x/sendMessage")

    assert b'"retry_after": 1' in server.answer(b"/bot1:x/sendMessage")


def test_an_upload_is_told_from_a_file_the_server_has():
    server = Server(rate=None, latency=0)

    first = server.answer(b"/bot1:x/sendDocument", uploads=True)
    server.answer(b"/bot1:x/sendDocument")

    assert b'"file_id":"bench-file"' in first
    assert b'"uploads": 1' in server.answer(b"/stats")


def test_a_missed_goal_is_said():
    assert line(Result("claim", "2.0 ×", "≤ 1.5 ×", False)).endswith("below goal")
    assert line(Result("claim", "1.0 ×")).endswith("1.0 ×")
