\set id random(1, 100000)
SELECT id, phone FROM people WHERE id = :id;
