package run

import (
	"encoding/json"
	"time"
)

// HealthRecord is one scheduled health check; Document is what it found.
type HealthRecord struct {
	At       time.Time       `json:"at"`
	Healthy  bool            `json:"healthy"`
	Document json.RawMessage `json:"document"`
}
