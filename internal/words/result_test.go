package words_test

import (
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

func TestResult(t *testing.T) {
	t.Parallel()
	type found = map[product.Kind]int64
	type byKind = map[product.Kind]map[run.State]int64
	all := run.Kinds{product.Missing, product.Stale, product.Orphaned}
	for _, tt := range []struct {
		report run.Report
		want   string
	}{
		{run.Report{Result: run.InSync, Products: 50}, "In sync: 50 products compared in 2s."},
		{run.Report{Result: run.Succeeded, Products: 50, Found: found{product.Stale: 1}, ByKind: byKind{product.Stale: {run.Found: 1}}},
			"No missing products. (2s) Left alone: 1 stale; `etl sync --repair stale` repairs it."},
		{run.Report{Result: run.Succeeded, Products: 50, ByKind: byKind{product.Missing: {run.InFlight: 2}}}, "No missing products. (2s) 2 products cannot be judged yet."},
		{run.Report{Result: run.Succeeded, Repair: run.Kinds{product.Missing, product.Stale}, Found: found{product.Orphaned: 1200}},
			"No missing or stale products. (2s) Left alone: 1,200 orphaned; `etl sync --repair orphaned` repairs them."},
		{run.Report{Result: run.Succeeded, Found: found{product.Missing: 2000}, ByKind: byKind{product.Missing: {run.Verified: 2000, run.InFlight: 1}}, Acted: 2678, Attempts: 3},
			"Repaired: 2,000 of 2,000 missing products verified in the cart, in 2s by replay. 1 product cannot be judged yet."},
		{run.Report{Result: run.Succeeded, Repair: all, Found: found{product.Missing: 2, product.Stale: 1, product.Orphaned: 3},
			ByKind: byKind{product.Missing: {run.Verified: 1, run.Gone: 1}, product.Stale: {run.Verified: 1}, product.Orphaned: {run.Verified: 3}}},
			"Repaired: 1 of 2 missing, 1 of 1 stale and 3 of 3 orphaned products verified in the cart, in 2s by replay."},
		{run.Report{Result: run.Stopped, Found: found{product.Missing: 500_000}}, "Stopped at its findings: 500,000 missing, 0 stale, 0 orphaned, nothing was repaired. (2s)"},
		{run.Report{Result: run.Stopped, Acted: 5, Found: found{product.Missing: 10}, ByKind: byKind{product.Missing: {run.Verified: 5}}},
			"Stopped after 2s, a person decides first: 5 of 10 missing products verified so far."},
		{run.Report{Result: run.Cancelled}, "Interrupted after 2s: nothing verified so far."},
		{run.Report{Result: run.Broken, Found: found{product.Missing: 12}}, "Failed after 2s: 0 of 12 missing products verified so far."},
		{run.Report{Result: run.Partial, DryRun: true, Found: found{product.Missing: 5, product.Orphaned: 2}, ByKind: byKind{product.Stale: {run.InFlight: 3}}},
			"Differences found: 5 missing, 0 stale, 2 orphaned, 3 cannot be judged yet. (2s, nothing was changed)"},
		{run.Report{Result: run.Partial, Notes: []run.Note{{Code: run.NoteUnknownIDs, Number: 1, Of: 1}}}, "Nothing to compare: the named products are in neither store. (2s)"},
		{run.Report{Result: run.Partial, DryRun: true, Notes: []run.Note{{Code: run.NoteUnknownIDs, Number: 1, Of: 1}}}, "Nothing to compare: the named products are in neither store. (2s)"},
		{run.Report{Result: run.Partial, Products: 7}, "No missing products any more among the 7 that could be compared. (2s)"},
		{run.Report{Result: run.Partial, Unrepaired: 15, Found: found{product.Missing: 35, product.Stale: 1}, ByKind: byKind{product.Missing: {run.Verified: 20}}},
			"Differences remain: 20 of 35 missing products verified in the cart, 15 not, in 2s by replay. Left alone: 1 stale; `etl sync --repair stale` repairs it."},
	} {
		tt.report.Mode, tt.report.Duration = run.Replay, 2000
		if got := words.Result(&tt.report, words.CLI); got != tt.want {
			t.Errorf("\n got %s\nwant %s", got, tt.want)
		}
		inTerms(t, words.Result(&tt.report, words.API), words.API)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	price := run.FieldComparison{FieldChange: run.FieldChange{Field: "price", Source: "5", Cart: "4"}, Compared: true}
	stock := run.FieldComparison{FieldChange: run.FieldChange{Field: "quantity", Source: "5", Cart: "4"}}
	for _, tt := range []struct {
		e         run.Explanation
		why, next string
	}{
		{run.Explanation{Verdict: run.VerdictInSync, InSource: true, InCart: true, Fields: []run.FieldComparison{price, stock}}, "both sides agree in price", ""},
		{run.Explanation{Verdict: run.VerdictMissing, InSource: true}, "the source has it and the cart does not; its event may still wait in the cart's queue",
			"`etl sync --id a` waits for the queue, replays it if it is still missing, and proves that it arrived"},
		{run.Explanation{Verdict: run.VerdictOnItsWay, InSource: true, Reason: run.Reason{Code: run.ReasonSettling}},
			"the source has it and the cart does not: its own event may still come", "look again in a moment"},
		{run.Explanation{Verdict: run.VerdictBlocked, InSource: true, Column: "price", Reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 has a fraction"}},
			"the cart cannot hold it: price: 9.99 has a fraction", "correct the product in the Product Service, then run again"},
		{run.Explanation{Verdict: run.VerdictStale, InSource: true, InCart: true, Fields: []run.FieldComparison{price, stock}}, "price is 5 in the source and 4 in the cart",
			"`etl sync --id a --repair stale` waits for the queue, announces it again if it still differs, and proves that the cart took it"},
		{run.Explanation{Verdict: run.VerdictStale, InSource: true, InCart: true, Fields: []run.FieldComparison{price}, Reason: run.Reason{Code: run.ReasonUseDirect, Detail: "sellerId"}},
			"price is 5 in the source and 4 in the cart; no event changes sellerId", "`etl sync --id a --repair stale --mode direct` writes it"},
		{run.Explanation{Verdict: run.VerdictOrphaned, InCart: true}, "the cart has it and the source does not", "`etl sync --id a --repair orphaned` deletes it if the source still does not have it"},
		{run.Explanation{Verdict: run.VerdictOrphaned, InCart: true, Reason: run.Reason{Code: run.ReasonReferenced, Detail: "cart"}},
			"the cart has it and the source does not; rows of cart refer to it", "the cart must keep it while those rows refer to it: remove them, then run again"},
		{run.Explanation{Verdict: run.VerdictUnknown}, "neither store has it", "check the id: an ObjectId is 24 lower-case hexadecimal digits"},
	} {
		tt.e.ID = "a"
		if why, next := words.Explain(&tt.e, words.CLI); why != tt.why || next != tt.next {
			t.Errorf("%s:\n got %s\n     %s\nwant %s\n     %s", tt.e.Verdict, why, next, tt.why, tt.next)
		}
		if d := words.API.Explanation(&tt.e); d.Next != "" {
			inTerms(t, d.Next, words.API)
		}
	}
	for id, want := range map[product.ID]string{"it's ; rm": `etl sync --id 'it'\''s ; rm'`, "-x": "etl sync --id '-x'", "": "etl sync --id ''",
		"it's\nnew": `etl sync --id $'it\'s\nnew'`, `a \n "b"`: `etl sync --id 'a \n "b"'`} {
		if _, next := words.Explain(&run.Explanation{ID: id, Verdict: run.VerdictMissing, InSource: true}, words.CLI); next[:len(want)+2] != "`"+want+"`" {
			t.Errorf("%q: %s", id, next)
		}
	}
}

// Progress counts products, however often one of them is repaired.
func TestProgress(t *testing.T) {
	t.Parallel()
	missing := run.Kinds{product.Missing}
	p := run.Progress{Phase: run.PhaseRepairing, Compared: 20_000, Total: 20_000, Acted: 1836, Verified: 678, Attempts: 2,
		Found: map[product.Kind]int64{product.Missing: 1158, product.Stale: 3}, Throttle: "the queue is full"}
	if got, want := words.Progress(&p, missing, words.CLI), "repairing: 678 of 1,158 products verified, 1,158 missing, 3 stale, attempt 2, publishing pauses: the queue is full"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	p = run.Progress{Phase: run.PhaseComparing, Compared: 5, Total: 20, Suspects: map[product.Kind]int64{product.Missing: 1},
		Waits: []run.Wait{{Kind: product.Missing, Products: 1, Reason: run.Reason{Code: run.ReasonChanging}}, {Kind: product.Stale, Products: 2, Reason: run.Reason{Code: run.ReasonSettling}}}}
	if got, want := words.Progress(&p, missing, words.CLI),
		"comparing: 5 of 20 products compared, 1 suspect, 1 missing waits: it changes again and again; 2 stale wait: its own event may still come"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	d := words.API.Progress(&run.Progress{Waits: []run.Wait{{Phase: run.PhaseConfirming, Kind: product.Missing, Products: 2,
		Reason: run.Reason{Code: run.ReasonSettling, Until: time.Unix(60, 0)}}}})
	if len(d.Waits) != 1 || d.Waits[0].Text != "its own event may still come until 1970-01-01T00:01:00Z" || d.Waits[0].Products != 2 || d.Waits[0].Code != run.ReasonSettling {
		t.Errorf("%+v", d.Waits)
	}
	if words.API.Progress(nil) != nil || words.API.Report(nil) != nil {
		t.Error("nothing has words")
	}
}
