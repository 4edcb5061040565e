package run_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// problems are the texts of an *InvalidError, and nil of no error.
func problems(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *run.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Fields) == 0 {
		t.Fatalf("%v is no InvalidError with fields", err)
	}
	var texts []string
	for _, f := range invalid.Fields {
		texts = append(texts, strings.TrimPrefix(f.Field+" ", " ")+f.Message)
	}
	if want := "invalid sync request: " + strings.Join(texts, "; "); err.Error() != want {
		t.Errorf("the error says %q, want %q", err, want)
	}
	return texts
}

func TestDecodeOrder(t *testing.T) {
	t.Parallel()
	defaults := run.Order{Mode: run.Replay, Repair: run.Kinds{product.Missing}, Fallback: run.NoFallback}
	with := func(change func(*run.Order)) run.Order {
		o := defaults
		change(&o)
		return o
	}
	since := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for document, want := range map[string]run.Order{
		"":           defaults,
		" \r\n\t":    defaults,
		"{}":         defaults,
		" { } ":      defaults,
		`{"ids":[]}`: with(func(o *run.Order) { o.IDs = []product.ID{} }),
		`{"mode":null,"dryRun":null,"batchSize":null,"repair":null,"ids":null,"since":null,"maxRepairs":null,"maxDeletes":null,"fallback":null,"reason":null}`: defaults,
		`{"mode":"","repair":"","fallback":"","since":"","pipelines":""}`:                                                                                      defaults,
		`{"mode":"direct","dryRun":true,"batchSize":1000,"repair":"missing","maxRepairs":5,"fallback":"none","reason":"é"}`: with(func(o *run.Order) {
			o.Mode, o.DryRun, o.BatchSize, o.MaxRepairs, o.Reason = run.Direct, true, 1000, 5, "é"
		}),
		`{"fallback":"direct","batchSize":1}`:         with(func(o *run.Order) { o.Fallback, o.BatchSize = run.DirectFallback, 1 }),
		`{"ids":["b","a","b"]}`:                       with(func(o *run.Order) { o.IDs = []product.ID{"b", "a"} }),
		`{"repair":[]}`:                               defaults,
		`{"repair":"orphaned","maxDeletes":7}`:        with(func(o *run.Order) { o.Repair, o.MaxDeletes = run.Kinds{product.Orphaned}, 7 }),
		`{"repair":" orphaned, stale,missing,stale"}`: with(func(o *run.Order) { o.Repair = run.Kinds{product.Missing, product.Stale, product.Orphaned} }),
		`{"repair":["orphaned","stale","stale"]}`:     with(func(o *run.Order) { o.Repair = run.Kinds{product.Stale, product.Orphaned} }),
		`{"since":"2026-11-22T10:00:00Z"}`:            with(func(o *run.Order) { o.Since.Time = since }),
		`{"since":"2026-11-22T11:00:00.0+01:00"}`:     with(func(o *run.Order) { o.Since.Time = since }),
		`{"since":"2026-11-23T10:00:00+24:00"}`:       with(func(o *run.Order) { o.Since.Time = since }),
	} {
		got, err := run.DecodeOrder([]byte(document))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", document, got, err, want)
		}
	}
}

func TestDecodeOrderSinceADuration(t *testing.T) {
	t.Parallel()
	before := time.Now()
	got, err := run.DecodeOrder([]byte(`{"since":"2h"}`))
	if err != nil || got.Since.Before(before.Add(-2*time.Hour-time.Second)) || got.Since.After(time.Now().Add(-2*time.Hour)) {
		t.Errorf("%v, %v", got.Since, err)
	}
}

func TestDecodeOrderRefuses(t *testing.T) {
	t.Parallel()
	const (
		unreadable = "is no valid JSON"
		noObject   = "must be a JSON object"
		moment     = `since must be a time such as "2026-11-22T10:00:00Z" or a duration above 0 such as "2h"`
		era        = "since must be between 1970 and 9999"
		kinds      = `repair must name missing, stale or orphaned, or several of them such as "missing,stale"`
	)
	many := `{"ids":["x"` + strings.Repeat(`,"x"`, run.MaxIDs) + `]}`
	for _, tt := range []struct {
		document string
		want     []string
	}{
		{"null", []string{noObject}},
		{"[]", []string{noObject}},
		{"1", []string{noObject}},
		{"\ufeff{}", []string{"begins with the byte order mark of UTF-8: send plain UTF-8"}},
		{`{"batchSize":0,"maxRepairs":0,"maxDeletes":0}`, []string{"batchSize must be 1..1000", "maxDeletes must be at least 1; without it SYNC_MAX_DELETES counts", "maxRepairs must be at least 1; without it no number is set"}},
		{"{", []string{unreadable}},
		{`{"mode"`, []string{unreadable}},
		{`{"mode":`, []string{unreadable}},
		{`{"mode":"direct",}`, []string{unreadable}},
		{`{"mode":"direct"`, []string{unreadable}},
		{`{mode:1}`, []string{unreadable}},
		{"{}{}", []string{"must be one JSON object and nothing behind it"}},
		{"{} x", []string{"must be one JSON object and nothing behind it"}},
		{"{\"reason\":\"\xff\"}", []string{"is not valid UTF-8"}},
		{"{\"\xc3\":1}", []string{"is not valid UTF-8"}},
		{`{"mode":1,"dryRun":"yes","batchSize":"x","repair":1,"ids":"a","since":1,"maxRepairs":1.5,"maxDeletes":"1e","fallback":{},"reason":true}`, []string{
			"mode must be a text", "dryRun must be true or false", "batchSize must be a whole number", kinds,
			"ids must be a list of product ids as texts", moment, "maxRepairs must be a whole number", "maxDeletes must be a whole number", "fallback must be a text", "reason must be a text",
		}},
		{`{"Mode":"direct","x":{"mode":"direct"}}`, []string{"Mode is not a field of a sync request", "x is not a field of a sync request"}},
		{`{"version":1}`, []string{"version is not a field of a sync request"}},
		{`{"dryRun":true,"dryRun":false}`, []string{"dryRun is given twice"}},
		{`{"` + strings.Repeat("é", 100) + `":1}`, []string{strings.Repeat("é", 28) + "… is not a field of a sync request"}},
		{`{"mode":"Replay"}`, []string{"mode must be replay or direct"}},
		{`{"batchSize":1001}`, []string{"batchSize must be 1..1000"}},
		{`{"batchSize":-1}`, []string{"batchSize must be 1..1000"}},
		{`{"batchSize":99999999999999999999}`, []string{"batchSize must be a whole number"}},
		{`{"repair":"all"}`, []string{kinds}},
		{`{"repair":"stale,"}`, []string{kinds}},
		{`{"repair":"Stale"}`, []string{kinds}},
		{`{"repair":["missing,stale"]}`, []string{kinds}},
		{`{"repair":["missing",1]}`, []string{kinds}},
		{`{"repair":{"stale":true}}`, []string{kinds}},
		{`{"maxDeletes":-1}`, []string{"maxDeletes must be at least 1; without it SYNC_MAX_DELETES counts"}},
		{`{"fallback":"replay"}`, []string{"fallback must be none or direct"}},
		{`{"fallback":"direct","mode":"direct"}`, []string{"fallback goes with mode replay only"}},
		{`{"maxRepairs":-1}`, []string{"maxRepairs must be at least 1; without it no number is set"}},
		{`{"ids":[""]}`, []string{"ids contains an empty id"}},
		{`{"ids":["a",null]}`, []string{"ids contains an empty id"}},
		{`{"ids":["a\u0000"]}`, []string{"ids contains an id that is too long, not valid UTF-8 or has a NUL: \"a\\x00\""}},
		{`{"ids":["` + strings.Repeat("a", 3001) + `"]}`, []string{"ids contains an id that is too long, not valid UTF-8 or has a NUL: " + strings.Repeat("a", 57) + "… (3001 bytes)"}},
		{many, []string{fmt.Sprintf("ids names %d products, at most %d are looked at by id", run.MaxIDs+1, run.MaxIDs)}},
		{`{"ids":["a"],"since":"2h"}`, []string{"since and ids exclude each other"}},
		{`{"since":"yesterday"}`, []string{moment}},
		{`{"since":"0s"}`, []string{moment}},
		{`{"since":"-2h"}`, []string{moment}},
		{`{"since":"2026-11-22T10:00:00"}`, []string{moment}},
		{`{"since":"2026-11-22 10:00:00Z"}`, []string{moment}},
		{`{"since":"1969-12-31T23:59:59Z"}`, []string{era}},
		{`{"since":"0000-01-01T00:00:00+23:00"}`, []string{era}},
		{`{"since":"9999-12-31T23:59:59-23:00"}`, []string{era}},
		{`{"since":"2000000h"}`, []string{era}},
		{`{"reason":"` + strings.Repeat("a", 501) + `"}`, []string{"reason must be valid UTF-8 without NUL, at most 500 bytes"}},
		{`{"reason":"\u0000"}`, []string{"reason must be valid UTF-8 without NUL, at most 500 bytes"}},
	} {
		_, err := run.DecodeOrder([]byte(tt.document))
		if got := problems(t, err); !slices.Equal(got, tt.want) {
			t.Errorf("%.80s:\n got %q\nwant %q", tt.document, got, tt.want)
		}
	}
}

// However wrong a document is, what is said of it is bounded.
func TestDecodeOrderStops(t *testing.T) {
	t.Parallel()
	for _, member := range []string{`"%d":1`, `"dryRun":%d`} {
		var document strings.Builder
		for i := range 10_000 {
			document.WriteString("," + strings.ReplaceAll(member, "%d", fmt.Sprint(i)))
		}
		_, err := run.DecodeOrder([]byte("{" + document.String()[1:] + "}"))
		if got := problems(t, err); len(got) != 20 {
			t.Errorf("%s: %d problems", member, len(got))
		}
	}
}

const requestID = "0198c0de-0000-7000-8000-00000000000a"

func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	before := time.Now().Add(-time.Second)
	got, err := run.DecodeRequest([]byte(`{"version":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.ID) != 36 || got.At.Before(before) || got.At.After(time.Now()) || got.Trigger != run.ByMessage || got.Mode != run.Replay {
		t.Errorf("the least request becomes %+v", got)
	}
	if again, err := run.DecodeRequest([]byte(`{"version":1}`)); err != nil || again.ID == got.ID {
		t.Errorf("another one has the same id, %v", err)
	}

	full := run.Request{
		Version: 1, ID: requestID, Trigger: run.BySchedule, By: "scheduler", At: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		Expires: time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC), Key: "products 2026-11-22T10:00:00Z", Apply: "0198c0de-0000-7000-8000-00000000000b", Recorded: true,
		Order: run.Order{Mode: run.Direct, BatchSize: 7, Repair: run.Kinds{product.Missing}, IDs: []product.ID{"a"}, MaxRepairs: 9, Fallback: run.NoFallback, Reason: "why"},
	}
	document, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := run.DecodeRequest(document); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("%s becomes %+v, %v", document, got, err)
	}

	// Two spellings of one id are one run.
	upper := strings.ToUpper(requestID)
	got, err = run.DecodeRequest([]byte(`{"version":1,"id":"` + upper + `","apply":"` + upper + `"}`))
	if err != nil || got.ID != requestID || got.Apply != requestID {
		t.Errorf("%s becomes %s and %s, %v", upper, got.ID, got.Apply, err)
	}
}

func TestDecodeRequestRefuses(t *testing.T) {
	t.Parallel()
	const time1 = `must be a time such as "2026-11-22T10:00:00Z"`
	for document, want := range map[string][]string{
		"":                               {"must be a JSON object", "version must be 1"},
		"{}":                             {"version must be 1"},
		`{"version":-1}`:                 {"version must be 1"},
		`{"version":1,"x":1,"mode":"y"}`: {"x is not a field of a sync request", "mode must be replay or direct"},
		`{"version":2,"x":1`:             {"x is not a field of a sync request", "is no valid JSON", "version must be 1"},
		`{"version":"1"}`:                {"version must be a whole number", "version must be 1"},
		`{"version":1,"mode":"x"}`:       {"mode must be replay or direct"},
		`{"version":1,"id":"x"}`:         {"id must be a UUID"},
		`{"version":1,"apply":"x"}`:      {"apply must be a UUID"},
		`{"version":1,"trigger":"me"}`:   {"trigger must be one of [http schedule cli message detector]"},
		`{"version":1,"id":"{` + requestID + `}"}`:                       {"id must be a UUID"},
		`{"version":1,"id":"urn:uuid:` + requestID + `"}`:                {"id must be a UUID"},
		`{"version":1,"id":"` + strings.Repeat("0", 32) + `"}`:           {"id must be a UUID"},
		`{"version":1,"apply":"` + requestID + `","dryRun":true}`:        {"dryRun does not go with apply, which repairs"},
		`{"version":1,"recorded":true}`:                                  {"id must be given where recorded is true"},
		`{"version":1,"requestedBy":"` + strings.Repeat("a", 201) + `"}`: {"requestedBy must be valid UTF-8 without NUL, at most 200 bytes"},
		`{"version":1,"key":"\u0000"}`:                                   {"key must be valid UTF-8 without NUL, at most 200 bytes"},
		`{"version":1,"requestedAt":"now"}`:                              {"requestedAt " + time1},
		`{"version":1,"expiresAt":"2h"}`:                                 {"expiresAt " + time1},
		`{"version":1,"requestedAt":"1969-12-31T23:59:59Z"}`:             {"requestedAt must be between 1970 and 9999"},
		`{"version":1,"expiresAt":"9999-12-31T23:59:59-01:00"}`:          {"expiresAt must be between 1970 and 9999"},
	} {
		_, err := run.DecodeRequest([]byte(document))
		if got := problems(t, err); !slices.Equal(got, want) {
			t.Errorf("%.80s:\n got %q\nwant %q", document, got, want)
		}
	}
}

// What a newer program may read is told from what none can, and is never mistaken for
// something that may begin.
func TestDecodeRequestOfANewerVersion(t *testing.T) {
	t.Parallel()
	const mayBe = "; where that is misspelt, cancel the run and ask again"
	for document, want := range map[string]string{
		`{"version":2}`: "which reads version 2 of requests; this one reads 1",
		`{"version":2,"id":"` + requestID + `","recorded":true,"key":"k","pipeline":"p","requestedBy":"me","expiresAt":"2030-01-01T00:00:00Z","mode":7,"since":{"at":1},"shards":[1]}`: "which reads version 2 of requests; this one reads 1",
		`{"version":9,"id":"mine","recorded":true}`:                           "which reads version 9 of requests; this one reads 1",
		`{"version":1,"dryrun":true}`:                                         "which knows the field dryrun" + mayBe,
		`{"version":1,"id":"` + requestID + `","recorded":true,"a":1,"b":{}}`: "which knows the field a, b" + mayBe,
	} {
		r, err := run.DecodeRequest([]byte(document))
		var newer *run.NewerError
		if !errors.As(err, &newer) || newer.Error() != "needs a newer version of etl, "+want {
			t.Errorf("%s: %v", document, err)
		}
		known := strings.Contains(document, requestID)
		if known != (r.ID == requestID) || len(r.ID) != 36 || r.Recorded != known || r.At.IsZero() || r.Mode != run.Replay || len(r.Repair) == 0 {
			t.Errorf("%s becomes %+v", document, r)
		}
		if asked := strings.Contains(document, `"key":"k"`); asked != (r.Key == "k" && r.Pipeline == "p" && r.By == "me" && r.Expires.Year() == 2030) {
			t.Errorf("%s becomes %+v", document, r)
		}
		if (r.Newer() != nil) != (r.Version > run.RequestVersion) {
			t.Errorf("%s: %v", document, r.Newer())
		}
	}
}

func TestRequestSlot(t *testing.T) {
	t.Parallel()
	for dryRun, want := range map[bool]run.Slot{true: run.LookSlot, false: run.RepairSlot} {
		r := run.Request{Order: run.Order{DryRun: dryRun}}
		if got := r.Slot(); got != want {
			t.Errorf("dry run %t: %s", dryRun, got)
		}
	}
}
