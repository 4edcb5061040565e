package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestRenderExplanation(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	e := &run.Explanation{ID: "a ", Verdict: run.VerdictStale, InSource: true, InCart: true, Created: at,
		Fields: []run.FieldComparison{
			{FieldChange: run.FieldChange{Field: "title", Source: strings.Repeat("t", 500), Cart: strings.Repeat("t", 500)}, Compared: true, Equal: true},
			{FieldChange: run.FieldChange{Field: "price", Source: "5", Cart: "4"}, Compared: true},
			{FieldChange: run.FieldChange{Field: "quantity", Source: "9", Cart: "7"}},
		},
		History: []run.PastOutcome{{Run: "r1", At: at, Outcome: run.Outcome{Key: run.Key{ID: "a ", Kind: product.Missing}, State: run.Lost, Reason: run.Reason{Code: run.ReasonNacked, Number: 2}}},
			{Run: "r0", At: at, Outcome: run.Outcome{Key: run.Key{ID: "a ", Kind: product.Missing}, State: run.Verified}}},
	}
	got := renderExplanation(e, screen{})
	for _, want := range []string{
		"\n\"a \": stale. Price is 5 in the source and 4 in the cart.\n",
		"Next: `etl sync --id 'a ' --repair stale` waits for the queue",
		"│ title    │ \"" + strings.Repeat("t", 57) + "…\"",
		"│ price    │ 5 ", "differs", "not compared", "│ created  │ 2026-11-22T10:00:00Z",
		"2026-11-22T10:00:00Z  r1  missing lost  the broker refused the event twice\n2026-11-22T10:00:00Z  r0  missing verified\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	e = &run.Explanation{ID: "b", Verdict: run.VerdictMissing, InSource: true, Fields: []run.FieldComparison{{FieldChange: run.FieldChange{Field: "title", Source: "Lamp"}, Compared: true}}}
	if got := renderExplanation(e, screen{}); !strings.Contains(got, `│ title │ "Lamp"          │      │  │`) {
		t.Errorf("a side that lacks the product shows something:\n%s", got)
	}
}
