package run

import (
	"testing"
	"time"
)

func TestAttention(t *testing.T) {
	t.Parallel()
	type outcomes = map[State]int64
	for name, tt := range map[string]struct {
		dryRun bool
		status Status
		report *Report
		want   Attention
	}{
		"in sync":                        {false, StatusSucceeded, &Report{Result: InSync}, NoAttention},
		"repaired":                       {false, StatusSucceeded, &Report{Result: Succeeded, Outcomes: outcomes{Verified: 3}}, NoAttention},
		"a look that found":              {true, StatusPartial, &Report{Result: Partial, Outcomes: outcomes{Found: 3, Blocked: 1}}, ToApply},
		"a look that found blocked ones": {true, StatusPartial, &Report{Result: Partial, Outcomes: outcomes{Blocked: 1}}, ToUnblock},
		"a look that found nothing":      {true, StatusSucceeded, &Report{Result: InSync}, NoAttention},
		"stopped at its findings":        {false, StatusPartial, &Report{Result: Stopped, Outcomes: outcomes{Found: 3}}, ToApply},
		"lost and blocked":               {false, StatusPartial, &Report{Result: Partial, Outcomes: outcomes{Lost: 1, Blocked: 2, Verified: 3}}, LostProducts},
		"blocked":                        {false, StatusPartial, &Report{Result: Partial, Outcomes: outcomes{Blocked: 2, Verified: 3}}, ToUnblock},
		"left alone":                     {false, StatusSucceeded, &Report{Result: Succeeded, Outcomes: outcomes{Found: 2}}, NoAttention},
		"failed before its report":       {false, StatusFailed, nil, NoAttention},
	} {
		if got := AttentionOf(&Record{Status: StatusRunning, Request: Request{Order: Order{DryRun: tt.dryRun}}}, tt.status, tt.report); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	whole, part := Record{}, Record{Request: Request{Order: Order{Since: Moment{Time: time.Now()}}}}
	if !whole.Speaks(StatusPartial) || whole.Speaks(StatusFailed) || whole.Speaks(StatusCancelled) || part.Speaks(StatusSucceeded) {
		t.Error("another run speaks for all")
	}
}
