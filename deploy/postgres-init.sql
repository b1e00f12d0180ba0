-- One database per module, named as the runbooks name them.
CREATE DATABASE squid_db OWNER q;
CREATE DATABASE qonsent_db OWNER q;
CREATE DATABASE qlock_db OWNER q;
CREATE DATABASE qerberos_db OWNER q;
CREATE DATABASE wallet_db OWNER q;
CREATE DATABASE ops_db OWNER q;
