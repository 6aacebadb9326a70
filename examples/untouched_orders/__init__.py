"""An order system whose services know no case and no signal, and a case that tests them all the same."""
