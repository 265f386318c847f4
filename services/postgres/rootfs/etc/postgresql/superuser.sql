-- The superuser's password; the environment names it so that it is in no argument list.
\getenv password POSTGRES_PASSWORD
ALTER ROLE postgres PASSWORD :'password';
