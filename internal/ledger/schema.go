package ledger

// schema is where all tables are. It is never the name of a role: PostgreSQL looks
// for unqualified names in the schema "$user" first, so a cart whose role was called
// like it would find its own tables shadowed.
const schema = "etl_ledger"

// The tables. What each is for is told by its comment in the migrations.
const (
	compatibilityTable = schema + ".compatibility"
	pipelineTable      = schema + ".pipeline"
	runTable           = schema + ".run"
	rangeTable         = schema + ".key_range"
	handTable          = schema + ".in_hand"
	outcomeTable       = schema + ".outcome"
	differenceTable    = schema + ".difference"
	lookTable          = schema + ".look"
	gapTable           = schema + ".gap"
	actionTable        = schema + ".action"
	switchTable        = schema + ".switch"
	healthTable        = schema + ".health"
	detectorTable      = schema + ".detector"
	sampleTable        = schema + ".sample"
	noticeTable        = schema + ".notice"
	versionTable       = schema + ".goose_db_version" // how far the schema was migrated
)
