package labtest

// IngestSteps are all failpoints that a recorded ingest passes, in its order. Start
// says what stands in the lab when it begins.
var IngestSteps = []struct{ Name, Start string }{
	{"meta.create.before", "nothing"},
	{"meta.create.after", "nothing"},
	{"meta.start.before", "data"},
	{"meta.start.after", "data"},
	{"meta.config.before", "data"},
	{"meta.config.after", "data"},
	{"fact.schema.before", "nothing"},
	{"fact.schema.after", "nothing"},
	{"fact.create.before", "nothing"},
	{"fact.create.after", "nothing"},
	{"fact.upgrade.before", "an empty Fact DB"},
	{"fact.upgrade.after", "an empty Fact DB"},
	{"ingest.staged", "data"},
	{"meta.symbols.before", "data"},
	{"meta.symbols.after", "data"},
	{"ingest.merged", "data"},
	{"fact.commit.before", "data"},
	{"fact.commit.after", "data"},
	{"meta.finish.before", "data"},
	{"meta.finish.after", "data"},
}

// RecordSteps are the failpoints of what runs record of themselves.
var RecordSteps = []string{"meta.log.before", "meta.log.after", "meta.program.before", "meta.program.after"}

// LabSteps are the failpoints of what looks after runs and labs.
var LabSteps = []string{
	"meta.delete.before", "meta.delete.after", "meta.undelete.before", "meta.undelete.after",
	"meta.purge.before", "meta.purge.after", "meta.clear.before", "meta.clear.after",
	"remedy.staged", "reset.moved", "restore.staged", "restore.journal", "restore.move", "restore.moved",
}

// EndSteps are the failpoints of a process that is done.
var EndSteps = []string{"ended"}

// PortableSteps are the failpoints of an import, in its order.
var PortableSteps = []string{"carry.contents", "carry.rows", "carry.committed"}

// PipelineSteps are the failpoints of a pipeline beyond those of its stages.
var PipelineSteps = []string{"pipeline.planned", "pipeline.stage.before", "pipeline.stage.after"}

// JobSteps are the failpoints of the queue of jobs; its tests stop there.
var JobSteps = []string{"jobs.migrate"}

// AttemptSteps are the failpoints of a worker that begins what it was given, and that has
// seen it end, and of one that sees to what another left.
var AttemptSteps = []string{"job.note", "job.noted", "job.ended", "job.forestalled"}

// FenceSteps are the failpoints of commits that a lease guards, on a server alone.
var FenceSteps = []string{"fact.fence"}

// MoveSteps are the failpoints of moving a lab, in their order.
var MoveSteps = []string{"fact.copy.before", "fact.copy.after", "move.facts", "move.files", "move.meta"}

// CompactSteps are the failpoints of compacting a lake, in their order.
var CompactSteps = []string{"compact.before", "compact.merged", "compact.expired", "compact.removed"}

// OutputSteps are the failpoints of staged outputs, and of what has units stage them; the
// tests of jobs stop there.
var OutputSteps = []string{
	"sweep.dispatched", "sweep.unit.trials", "outputs.written", "outputs.manifest.before", "outputs.manifest.after",
	"outputs.take.before", "outputs.take.after", "sweep.taken",
	"features.dispatched", "train.dispatched", "train.unit.learned", "train.stored",
}
