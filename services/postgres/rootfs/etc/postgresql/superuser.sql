-- The superuser needs no password, and keeps none of an earlier version.
ALTER ROLE postgres PASSWORD NULL;
