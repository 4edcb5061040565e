package run

import "time"

// Switch is whether scheduled runs are wanted, on all replicas.
type Switch struct {
	On bool      `json:"on"`
	By string    `json:"changedBy,omitempty"`
	At time.Time `json:"changedAt,omitzero"`
}
