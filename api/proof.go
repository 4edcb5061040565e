package api

import (
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// validation is how the stores stood, under its former names.
type validation struct {
	IsValid bool    `json:"isValid"`
	Details details `json:"details"`
	// Checked is when they did, Age how many seconds ago that is.
	Checked time.Time `json:"checkedAt"`
	Age     int64     `json:"age"`
	// Contradicted are counts by which they stand so no longer; then IsValid is false.
	Contradicted *contradiction `json:"contradictedBy,omitempty"`

	proof run.Stores
}

// counted is a count of both stores, and when it was made.
type counted struct {
	Statistics
	began, at time.Time
}

// contradiction is a count of both stores that does not fit a proof.
type contradiction struct {
	Source  int64     `json:"sourceCount"`
	Target  int64     `json:"targetCount"`
	Counted time.Time `json:"countedAt"`
	// Drift is how many rows are fewer than the proof explains; below zero, how many are more.
	Drift int64 `json:"drift"`
}

type details struct {
	Source   int64 `json:"sourceCount"`
	Target   int64 `json:"targetCount"`
	Missing  int64 `json:"missingInTarget"`
	Extra    int64 `json:"extraInTarget"`
	Stale    int64 `json:"staleInTarget"`
	InFlight int64 `json:"inFlight"` // cannot be judged yet
	// Unsupported have an _id that cannot be compared.
	Unsupported int64 `json:"unsupportedIds"`
	// MissingIDs and ExtraIDs are the first of them, for viewers.
	MissingIDs []product.ID `json:"missingProductIds,omitzero"`
	ExtraIDs   []product.ID `json:"extraProductIds,omitzero"`
}

// judge says how the stores stood at the end of a run that has a report.
func judge(record *run.Record) *validation {
	stores := record.Report.Stores()
	age := max(time.Since(record.Finished), 0)
	return &validation{proof: stores, IsValid: stores.InSync(), Checked: record.Finished, Age: int64(age.Seconds()), Details: details{
		Source: stores.Products, Target: stores.Rows, Missing: stores.Differing[product.Missing], Extra: stores.Differing[product.Orphaned],
		Stale: stores.Differing[product.Stale], InFlight: stores.InFlight, Unsupported: stores.Unsupported,
	}}
}

// compare holds the proof against a later count, nil where there is none. Products and rows
// that come and go together leave their difference as it was; what may be on its way
// between the stores is no drift: products that are younger than the settle time, those that
// could not be judged by the proof, and events that wait in the cart's queues.
func (v *validation) compare(count *counted) {
	if count == nil || count.began.Before(v.Checked) {
		return
	}
	drift := count.Products - count.Rows - (v.proof.Products + v.proof.Unsupported - v.proof.Rows)
	underWay := count.Recent + v.proof.InFlight
	for _, q := range count.Queues {
		underWay += int64(q.Ready)
	}
	if max(drift, -drift) > underWay {
		v.IsValid = false
		v.Contradicted = &contradiction{Source: count.Products, Target: count.Rows, Counted: count.at, Drift: drift}
	}
}

// message says it in a sentence.
func (c *contradiction) message(checked time.Time) string {
	n, than := c.Drift, "fewer"
	if n < 0 {
		n, than = -n, "more"
	}
	return fmt.Sprintf("The stores were compared at %s. Counted at %s, they hold %s and %s, %s %s than that comparison explains: GET %s/validate?maxAge=0s compares them now.",
		checked.UTC().Format(time.RFC3339), c.Counted.UTC().Format(time.RFC3339), words.Counted(c.Source, "product"), words.Counted(c.Target, "row"),
		words.Number(n), than, Prefix)
}
