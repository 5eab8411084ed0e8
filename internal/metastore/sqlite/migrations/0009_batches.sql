-- Nothing here: a commit to this file has been done when it returns. In PostgreSQL its
-- answer can be lost, and a table there says how far those who log in batches have come.
SELECT 1;
