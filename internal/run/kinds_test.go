package run_test

import (
	"encoding/json"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestParseKinds(t *testing.T) {
	t.Parallel()
	all, err := run.ParseKinds([]string{"orphaned ", "missing", " stale", "missing"})
	if err != nil || all.String() != "missing,stale,orphaned" || !all.Has(product.Stale) {
		t.Errorf("%v, %v", all, err)
	}
	if none, err := run.ParseKinds(nil); err != nil || none != nil || none.Has(product.Missing) || none.String() != "" {
		t.Errorf("nothing is %v, %v", none, err)
	}
	for _, wrong := range [][]string{{""}, {"missing", ""}, {"missing,stale"}, {"MISSING"}} {
		if got, err := run.ParseKinds(wrong); err == nil || got != nil {
			t.Errorf("%q becomes %v, %v", wrong, got, err)
		}
	}
}

// What a run is asked for travels as a list.
func TestKindsTravel(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(run.Order{Repair: run.Kinds{product.Missing, product.Orphaned}})
	if err != nil || string(data) != `{"repair":["missing","orphaned"]}` {
		t.Errorf("%s, %v", data, err)
	}
}

func TestStatesHaveRules(t *testing.T) {
	t.Parallel()
	seen := make(map[run.State]bool)
	for _, rule := range run.States() {
		if seen[rule.State] || rule.Meaning == "" || rule.State.Rule().State != rule.State {
			t.Errorf("%+v", rule)
		}
		seen[rule.State] = true
	}
	for _, state := range []run.State{run.Lost, run.Blocked, run.InFlight, run.Failed, run.Skipped, run.Found} {
		if !state.Rule().Open {
			t.Errorf("%s counts as settled", state)
		}
	}
	for _, state := range []run.State{run.Verified, run.Gone, run.Undone} {
		if state.Rule().Open {
			t.Errorf("%s counts as open", state)
		}
	}
}
