"""Signals as the kernel delivers them."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cme import Interrupted
from cme.runtime import signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def earlier_calls() -> Iterator[list[int]]:
    """The calls of an earlier handler for SIGUSR2, which returns."""
    calls: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: calls.append(number))
    yield calls
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("number", signals.handled_signals())
def test_a_signal_raises_at_once_and_handlers_are_as_before(number: int) -> None:
    before = [signal.getsignal(n) for n in signals.SIGNALS]
    with pytest.raises(Interrupted, match=signal.Signals(number).name), signals.handle_signals():
        send(number)
        raise AssertionError("the signal did not raise")
    assert [signal.getsignal(n) for n in signals.SIGNALS] == before


def test_a_first_signal_is_deferred_and_a_second_is_not() -> None:
    done = []
    with pytest.raises(Interrupted, match="SIGTERM"), signals.handle_signals(), signals.defer_signals():
        send(signal.SIGTERM)
        assert signals.has_pending()
        done.append("the step at hand")
        signals.act_on_pending()
    assert done and not signals.has_pending()
    with pytest.raises(Interrupted), signals.handle_signals(), signals.defer_signals():
        send(signal.SIGTERM)
        send(signal.SIGINT)
        raise AssertionError("the second did not raise")


def test_a_deferred_signal_acts_at_the_end_of_the_block() -> None:
    with signals.handle_signals():
        with pytest.raises(Interrupted), signals.defer_signals():
            send(signal.SIGUSR1)
        done = []
        with pytest.raises(Interrupted), signals.defer_signals():
            with signals.defer_signals():
                send(signal.SIGUSR1)
            done.append("the outer block")
        assert done and not signals.has_pending()


def test_an_exception_propagates_and_the_signal_acts_next() -> None:
    with signals.handle_signals():
        with pytest.raises(RuntimeError, match="the disk is full"), signals.defer_signals():
            send(signal.SIGUSR1)
            raise RuntimeError("the disk is full")
        with pytest.raises(Interrupted, match="SIGUSR1"), signals.handle_signals():
            raise AssertionError("the next cell began")
        assert not signals.has_pending()


def test_an_earlier_handler_is_called_after_saving(earlier_calls: list[int]) -> None:
    with signals.handle_signals():
        send(signal.SIGUSR2)
        assert earlier_calls == [signal.SIGUSR2]
        with signals.defer_signals():
            send(signal.SIGUSR2)
            send(signal.SIGUSR2)
            assert len(earlier_calls) == 1, "they wait, the second too"
            signals.act_on_pending()
            assert len(earlier_calls) == 3
            with pytest.raises(Interrupted):
                send(signal.SIGTERM)
                assert signals.has_pending()
                signals.act_on_pending()
    send(signal.SIGUSR2)
    assert len(earlier_calls) == 4


def test_nested_and_in_threads_nothing_changes() -> None:
    handlers: list[object] = []

    def in_thread() -> None:
        with signals.handle_signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert handlers == [before]
    with signals.handle_signals():
        with signals.handle_signals():
            pass
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_to_another_process_of_the_training_interrupts_this_one() -> None:
    with pytest.raises(Interrupted, match="another process"):
        signals.act_on_pending()


def test_a_closed_terminal_ends_no_command_that_ignores_it() -> None:
    """As `nohup` starts it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handle_signals():
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert set(signals.SIGNALS) - set(signals.handled_signals()) == {signal.SIGHUP}
    finally:
        signal.signal(signal.SIGHUP, before)
