package reconcile

// NewWithCapacity is New with an engine small enough for a test to fill it.
func NewWithCapacity(parts Parts, config Config, options Options, capacity int) (*Run, error) {
	return newRun(parts, config, options, capacity)
}

// NoLedger is for tests whose ledger knows one thing only.
type NoLedger = noLedger
