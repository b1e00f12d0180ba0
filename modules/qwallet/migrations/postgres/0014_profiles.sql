-- What a wallet may do, by the kind of its owner's identity (domain/profile.rs), and whether it may pay and be paid: 0
-- active, 1 suspended, 2 frozen, 3 closed. `is_frozen` says the same in short. `parent` is the wallet whose limits it
-- draws on besides its own; `allowed` names the wallets it may pay, sixteen bytes each, where it may not pay everybody.
ALTER TABLE wallets ADD COLUMN status BIGINT NOT NULL DEFAULT 0;
ALTER TABLE wallets ADD COLUMN profile BIGINT NOT NULL DEFAULT 0;
ALTER TABLE wallets ADD COLUMN parent BYTEA;
ALTER TABLE wallets ADD COLUMN allowed BYTEA;
-- The account whose limits count as well; of a stripe, the account that stands for its family.
ALTER TABLE accounts ADD COLUMN parent BIGINT;
