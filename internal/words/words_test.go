package words_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// constants are the values of all constants of a type in a file of package run.
func constants(t *testing.T, file, typeName string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../run/"+file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, is := n.(*ast.ValueSpec)
		if !is {
			return true
		}
		if name, is := spec.Type.(*ast.Ident); is && name.Name == typeName {
			for _, v := range spec.Values {
				value, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
		}
		return true
	})
	if len(values) < 10 {
		t.Fatalf("%s has only %d of %s", file, len(values), typeName)
	}
	return values
}

// inTerms checks that a text is a sentence of its own terms.
func inTerms(t *testing.T, said string, terms words.Terms) {
	t.Helper()
	if said == "" || strings.Contains(said, "%!") || strings.Contains(said, "  ") || strings.HasSuffix(said, ": ") {
		t.Errorf("it says %q", said)
	}
	foreign := map[words.Terms][]string{words.CLI: {"POST", "maxRepairs", "maxDeletes", `"fallback"`}, words.API: {"etl sync", "--"}}
	for _, term := range foreign[terms] {
		if strings.Contains(said, term) {
			t.Errorf("it speaks in foreign terms: %s", said)
		}
	}
}

var bothTerms = []words.Terms{words.CLI, words.API}

func TestEveryReasonHasWordsAndARemedy(t *testing.T) {
	t.Parallel()
	for _, code := range constants(t, "reason.go", "Code") {
		for _, kind := range append(product.Kinds(), "") {
			for _, terms := range bothTerms {
				o := run.Outcome{Key: run.Key{ID: "a", Kind: kind}, State: run.Failed, Reason: run.Reason{Code: run.Code(code), Number: 2}}
				said := words.Reason(o, terms)
				inTerms(t, said, terms)
				if said == code {
					t.Errorf("%s has no words", code)
				}
				if code != string(run.ReasonDeleted) && code != string(run.ReasonArrived) {
					inTerms(t, words.Remedy(o, terms), terms)
				}
			}
		}
	}
}

func TestEveryOpenStateHasARemedy(t *testing.T) {
	t.Parallel()
	for _, rule := range run.States() {
		for _, terms := range bothTerms {
			remedy := words.Remedy(run.Outcome{State: rule.State}, terms)
			if rule.Open {
				inTerms(t, remedy, terms)
			} else if remedy != "" {
				t.Errorf("%s: %s", rule.State, remedy)
			}
		}
	}
}

func TestEveryNoteHasWords(t *testing.T) {
	t.Parallel()
	for _, code := range constants(t, "report.go", "NoteCode") {
		for _, kind := range append(product.Kinds(), "") {
			for _, terms := range bothTerms {
				for _, n := range []int64{1, 2000} {
					said := words.Note(run.Note{Code: run.NoteCode(code), Kind: kind, Number: n, Of: 3000}, terms)
					inTerms(t, said, terms)
					if said == code {
						t.Errorf("%s has no words", code)
					}
					inTerms(t, words.Note(run.Note{Code: run.NoteCode(code), Kind: kind, Number: n, Of: 3000, Detail: "why"}, terms), terms)
				}
			}
		}
	}
}

// What a later version says is shown as it is.
func TestUnknownCodesAreShown(t *testing.T) {
	t.Parallel()
	if got := words.Reason(run.Outcome{Reason: run.Reason{Code: "new"}}, words.CLI); got != "new" {
		t.Errorf("%q", got)
	}
	if got := words.Note(run.Note{Code: "new", Detail: "why"}, words.CLI); got != "new: why" {
		t.Errorf("%q", got)
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	since := time.Now().Add(-time.Minute)
	until := since.Add(10 * time.Minute)
	clock := func(at time.Time) string { return at.Local().Format("15:04:05") }
	waiting := run.Reason{Code: run.ReasonQueue, Queue: "product-created", Ready: 1, Since: since, Until: until}
	for _, tt := range []struct {
		kind   product.Kind
		state  run.State
		reason run.Reason
		want   string
	}{
		{product.Missing, run.InFlight, waiting, "1 event waiting in product-created, 0 consumers since " + clock(since) + ", given up at " + clock(until)},
		{product.Missing, run.InFlight, run.Reason{Code: run.ReasonQueue, Ready: 1200, Held: 1, Consumers: 1}, "1,200 events waiting in product-created, 1 event delivered and not acknowledged, 1 consumer"},
		{product.Stale, run.InFlight, run.Reason{Code: run.ReasonQueue, Held: 2, Consumers: 2}, "2 events delivered and not acknowledged in product-updated, 2 consumers"},
		{product.Missing, run.InFlight, run.Reason{Code: run.ReasonUnseen, Detail: "no answer", Since: since}, "queue product-created cannot be seen since " + clock(since) + ": no answer"},
		{product.Missing, run.InFlight, run.Reason{Code: run.ReasonYoung, Until: until}, "too young for a direct write until " + clock(until) + ": its own event may still come"},
		{product.Missing, run.Lost, run.Reason{Code: run.ReasonConsumed, Number: 1}, "1 event was consumed and left no row"},
		{product.Missing, run.Lost, run.Reason{Code: run.ReasonConsumed, Number: 2}, "2 events were consumed and left no row"},
		{product.Stale, run.Lost, run.Reason{Code: run.ReasonConsumed, Number: 2}, "2 events were consumed and left the row different from the source"},
		{product.Orphaned, run.Lost, run.Reason{Code: run.ReasonConsumed, Number: 2}, "2 events were consumed and left the row in place"},
		{product.Missing, run.Lost, run.Reason{Code: run.ReasonNacked, Number: 1}, "the broker refused the event once"},
		{product.Missing, run.Lost, run.Reason{Code: run.ReasonNacked, Number: 3}, "the broker refused the event 3 times"},
		{product.Missing, run.Lost, run.Reason{Code: run.ReasonSilent}, "the broker never answered, and nothing arrived"},
		{product.Missing, run.Lost, run.Reason{Code: run.ReasonDiffers}, "a direct repair left no row"},
		{product.Stale, run.Lost, run.Reason{Code: run.ReasonDiffers}, "a direct repair left the row different from the source"},
		{product.Orphaned, run.Lost, run.Reason{Code: run.ReasonDiffers}, "a direct repair left the row in place"},
		{product.Missing, run.Undone, run.Reason{Code: run.ReasonRevived}, "deleted in the source while it was repaired; its row was taken back"},
		{product.Missing, run.Failed, run.Reason{Code: run.ReasonRevived, Detail: "no answer"}, "deleted in the source while it was repaired; its row could not be taken back: no answer"},
		{product.Orphaned, run.Blocked, run.Reason{Code: run.ReasonReferenced, Detail: "public.cart"}, "rows of public.cart refer to it"},
		{product.Missing, run.Skipped, run.Reason{Code: run.ReasonLimit, Number: 1}, "the limit of 1 repair is reached"},
		{product.Missing, run.Verified, run.Reason{}, ""},
	} {
		o := run.Outcome{Key: run.Key{Kind: tt.kind}, State: tt.state, Reason: tt.reason}
		if got := words.Reason(o, words.CLI); got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.reason, got, tt.want)
		}
	}
	if got, want := words.Wait(run.Wait{Kind: product.Missing, Products: 3, Reason: waiting}, words.API),
		"1 event waiting in product-created, 0 consumers since "+since.UTC().Format(time.RFC3339)+", given up at "+until.UTC().Format(time.RFC3339); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := words.Wait(run.Wait{Reason: run.Reason{Code: run.ReasonSettling, Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)}}, words.CLI); got != "its own event may still come until 2026-01-02 03:04:05" {
		t.Errorf("of another day: %s", got)
	}
	for _, tt := range []struct {
		reason run.Reason
		want   string
	}{
		{run.Reason{Code: run.ReasonAway, Detail: "MongoDB", Since: since, Until: until}, "MongoDB does not answer since " + clock(since) + ", waited for until " + clock(until)},
		{run.Reason{Code: run.ReasonAway, Detail: "the ledger's PostgreSQL", Since: since}, "the ledger's PostgreSQL does not answer since " + clock(since)},
		{run.Reason{Code: run.ReasonAway}, "a server does not answer"}, // to whom it is not named
	} {
		if got := words.Waits(&run.Progress{Waits: []run.Wait{{Phase: run.PhaseProving, Reason: tt.reason}}}, words.CLI); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// A value that is shown in part has its length.
func TestLongValuesHaveTheirLength(t *testing.T) {
	t.Parallel()
	field := run.FieldChange{Field: "image", Source: "…xx.jpg", Cart: "b.png", SourceWhole: run.Whole{Bytes: 300_000}}
	if source, cart := words.Values(field); source != `"…xx.jpg" (300000 bytes)` || cart != `"b.png"` {
		t.Errorf("%s, %s", source, cart)
	}
}

// A product that still differs shows how, around the first difference.
func TestFieldDifferences(t *testing.T) {
	t.Parallel()
	path := "https://images.example.com/" + strings.Repeat("x", 60) + "/"
	for _, tt := range []struct{ field, source, cart, want string }{
		{"price", "5", "4", "price is 5 in the source and 4 in the cart"},
		{"price", " 12 ", "12", `price is " 12 " in the source and 12 in the cart`},
		{"price", "007", "7", `price is "007" in the source and 7 in the cart`},
		{"title", "Lamp\u00a0", "Lamp ", `title is "Lamp\u00a0" in the source and "Lamp " in the cart`},
		{"title", "absent", "", `title is absent in the source and "" in the cart`},
		{"image", path + "0042.jpg", path + "0042.png", `image is "…xxxxxxxxxxxxxx/0042.jpg" in the source and "…xxxxxxxxxxxxxx/0042.png" in the cart`},
	} {
		fields := []run.FieldChange{{Field: tt.field, Source: tt.source, Cart: tt.cart}}
		if got := words.Changes(fields); got != tt.want {
			t.Errorf("%s", got)
		}
		o := run.Outcome{Key: run.Key{ID: "a", Kind: product.Stale}, State: run.Found, Fields: fields}
		if got := words.Reason(o, words.CLI); got != tt.want {
			t.Errorf("as a reason: %s", got)
		}
		d := words.API.Outcome(o)
		if len(d.Fields) != 1 || d.Fields[0] != fields[0] {
			t.Errorf("in a document: %+v", d.Fields)
		}
		if o.State = run.Verified; words.Reason(o, words.CLI) != "" {
			t.Errorf("verified, and %s", words.Reason(o, words.CLI))
		}
	}
}

func TestRemediesAreCommandsAndRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o        run.Outcome
		cli, api string
	}{
		{run.Outcome{Key: run.Key{Kind: product.Missing}, State: run.Found}, "`etl sync` repairs it", "`POST /api/etl/sync` repairs it"},
		{run.Outcome{Key: run.Key{Kind: product.Orphaned}, State: run.Found},
			"`etl sync --repair orphaned` deletes it", "`POST /api/etl/sync {\"repair\":[\"orphaned\"]}` deletes it"},
		{run.Outcome{Key: run.Key{Kind: product.Stale}, State: run.Blocked, Reason: run.Reason{Code: run.ReasonUseDirect, Detail: "sellerId"}},
			"`etl sync --repair stale --mode direct` writes it", "`POST /api/etl/sync {\"mode\":\"direct\",\"repair\":[\"stale\"]}` writes it"},
		{run.Outcome{Key: run.Key{Kind: product.Missing}, State: run.Skipped, Reason: run.Reason{Code: run.ReasonLimit, Number: 5}},
			"run again with a higher limit: `--max-repairs N`", "run again with a higher limit: `\"maxRepairs\": N`"},
	} {
		if got := words.Remedy(tt.o, words.CLI); got != tt.cli {
			t.Errorf("%s, want %s", got, tt.cli)
		}
		if got := words.Remedy(tt.o, words.API); got != tt.api {
			t.Errorf("%s, want %s", got, tt.api)
		}
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		note run.Note
		want string
	}{
		{run.Note{Code: run.NoteTooMany, Kind: product.Stale, Number: 1500, Of: 2000, Detail: "1,000"},
			"Stopped: 1,500 of 2,000 products are stale, which is more than 1,000. Check that PRODUCT_SERVICE_MONGODB_URL and CART_DB_URL belong together; if they do, `etl sync --repair stale` with `--max-repairs 1500` repairs them"},
		{run.Note{Code: run.NoteTooMany, Kind: product.Orphaned, Number: 1500, Of: 2000, Detail: "100"},
			"No orphaned row was deleted: there are 1,500, and a run deletes 100 at most. Where they are to go, `--max-deletes 1500` allows it"},
		{run.Note{Code: run.NoteShrunken, Number: 10, Of: 2000}, "No orphaned row was deleted: the source has 10 products, and had 2,000 at the last comparison. Check PRODUCT_SERVICE_MONGODB_URL; where products were removed on purpose, a higher SYNC_MAX_SHRINK (percent) allows it"},
		{run.Note{Code: run.NoteVanishing, Number: 101}, "The run stopped: 101 products vanished from the source while they were repaired. See what removes them before anything is repaired or deleted"},
		{run.Note{Code: run.NoteConsumed, Number: 2, Of: 3, Detail: "why"}, "2 of 3 events were consumed and left no row as it should be: why"},
		{run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 1, Of: 1}, "1 of 1 event was consumed and left no row: who consumes the queue is not known; RABBITMQ_MANAGEMENT_URL would show it"},
		{run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 540, Of: 560, Detail: "2 consumers"}, "540 of 560 events were consumed and left no row: 2 consumers"},
		{run.Note{Code: run.NoteHopeless, Number: 3, Of: 100}, "No more attempts were made: of the last 100 repairs 3 arrived. `--fallback direct` writes directly what a replay loses"},
		{run.Note{Code: run.NoteUnknownIDs, Number: 1, Of: 3, Detail: "nope"}, "1 of the 3 products named is in neither store: nope"},
		{run.Note{Code: run.NoteUnknownIDs, Number: 12, Of: 12, Detail: "a, b"}, "12 of the 12 products named are in neither store: a, b, …"},
	} {
		if got := words.Note(tt.note, words.CLI); got != tt.want {
			t.Errorf("\n got %s\nwant %s", got, tt.want)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for id, want := range map[product.ID]string{"65f2a1b2c3d4e5f6a7b8c9d0": "65f2a1b2c3d4e5f6a7b8c9d0", "": `""`, "a\u0020": `"a "`, "a\nb": `"a\nb"`} {
		if got := words.ID(id); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := words.ID(product.ID(strings.Repeat("k", 2700))); len(got) > 100 || !strings.Contains(got, "2700 bytes") {
		t.Errorf("a long one: %s", got)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1: "-1", -123456: "-123,456"} {
		if got := words.Number(n); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
