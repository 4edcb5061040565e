package reconcile

// NewWithWindow is New with windows small enough for a test to fill several.
func NewWithWindow(parts Parts, config Config, options Options, window int) (*Run, error) {
	return newRun(parts, config, options, window)
}
