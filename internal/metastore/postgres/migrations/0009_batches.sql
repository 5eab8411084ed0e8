-- How far those have come who log in batches, so that one is stored once also where the
-- answer to its COMMIT was lost and it is sent again. A row ends with the process.
CREATE TABLE batches (
    stream text COLLATE "C" NOT NULL PRIMARY KEY,
    lease  text COLLATE "C" NOT NULL REFERENCES leases (name) ON DELETE CASCADE,
    number bigint NOT NULL
);

CREATE INDEX batches_lease ON batches (lease);
