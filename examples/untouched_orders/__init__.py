"""An order system whose services do not import the case that tests them: all signals are automatic."""
