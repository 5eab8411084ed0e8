-- Runs that were recorded before facts had a column say it at the end of their
-- text. The bytes are compared, because a text may hold a NUL.

UPDATE run_process SET facts = (SELECT CASE
        WHEN substr(CAST(r.error_text AS BLOB), -17) = CAST('; facts committed' AS BLOB) THEN 'committed'
        WHEN substr(CAST(r.error_text AS BLOB), -20) = CAST('; no facts committed' AS BLOB) THEN 'none'
        WHEN substr(CAST(r.error_text AS BLOB), -19) = CAST('; facts not checked' AS BLOB) THEN 'not_checked' END
    FROM runs r WHERE r.run_id = run_process.run_id)
WHERE facts IS NULL AND run_id IN (SELECT run_id FROM runs WHERE status = 'FAIL');
