-- The time zone in whose days and months is counted what a wallet spends, and from when on; UTC where nobody chose one.
ALTER TABLE accounts ADD COLUMN timezone TEXT;
ALTER TABLE accounts ADD COLUMN timezone_since INTEGER;
