"""SQLAlchemy's object-relational mapper over a policy that classifies the tables it writes."""
