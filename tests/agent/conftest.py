import pytest

from machine import Machine


@pytest.fixture
def machine():
    """A machine with a server that runs and no agent yet."""
    machine = Machine()
    try:
        machine.serve()
        yield machine
    finally:
        print(machine.close())


@pytest.fixture
def node(machine):
    """A machine that has joined; what it looked like before is in `before`."""
    machine.before = machine.look()
    machine.join()
    return machine
