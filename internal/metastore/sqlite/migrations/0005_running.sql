-- The runs of one machine that have not ended, so that runs of other machines
-- cost nothing when dead ones are looked for. Of a run that has ended, the exit
-- status is known, or whether it had committed facts.

UPDATE run_process SET exit_code = NULL, facts = NULL
WHERE (exit_code IS NOT NULL OR facts IS NOT NULL) AND run_id IN (SELECT run_id FROM runs WHERE status = 'RUNNING');

CREATE INDEX run_process_running ON run_process (machine_id) WHERE exit_code IS NULL AND facts IS NULL;

-- A RUNNING run, whoever stores it, has no end yet.

CREATE TRIGGER run_process_not_ended AFTER INSERT ON run_process
WHEN (NEW.exit_code IS NOT NULL OR NEW.facts IS NOT NULL) AND EXISTS (SELECT 1 FROM runs WHERE run_id = NEW.run_id AND status = 'RUNNING')
BEGIN
    UPDATE run_process SET exit_code = NULL, facts = NULL WHERE run_id = NEW.run_id;
END;

CREATE TRIGGER runs_not_ended AFTER INSERT ON runs WHEN NEW.status = 'RUNNING'
BEGIN
    UPDATE run_process SET exit_code = NULL, facts = NULL
    WHERE run_id = NEW.run_id AND (exit_code IS NOT NULL OR facts IS NOT NULL);
END;
