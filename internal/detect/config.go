package detect

import (
	"errors"
	"fmt"
	"time"
)

// Config are the detectors' variables.
type Config struct {
	// Overlap is how far behind what it has compared each such look begins: a product may be
	// inserted that long after the time in its key.
	Overlap time.Duration `env:"SYNC_OVERLAP, default=10m"`
	// Limit is how many products that detectors have found are repaired within an hour without
	// a person.
	Limit int `env:"SYNC_DETECT_LIMIT, default=1000"`
}

// maxOverlap bounds how many products each look reads again.
const maxOverlap = 24 * time.Hour

// Validate reports every variable that is wrong.
func (c *Config) Validate() error {
	var problems []error
	if c.Overlap < 0 || c.Overlap > maxOverlap {
		problems = append(problems, fmt.Errorf("SYNC_OVERLAP is %s, it must be 0s..%s", c.Overlap, maxOverlap))
	}
	if c.Limit < 0 || c.Limit > 1_000_000 {
		problems = append(problems, fmt.Errorf("SYNC_DETECT_LIMIT is %d, it must be 0..1000000; 0 leaves what is found to scheduled runs", c.Limit))
	}
	return errors.Join(problems...)
}
