package run_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/run"
)

// Any bytes are either a request that keeps all its promises and survives being
// sent on, or a bounded list of what is wrong with it.
func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{
		"", "null", "[]", "{}", `{"version":1}`, `{"version":1,"version":1}`, `{"version":1}x`, "\ufeff{}", "{\"version\":1,\"reason\":\"\xff\"}",
		`{"version":1,"id":"0198c0de-0000-7000-8000-00000000000A","apply":"0198c0de-0000-7000-8000-00000000000b","trigger":"http","requestedBy":"é","key":"k","recorded":true}`,
		`{"version":1,"requestedAt":"2026-11-22T10:00:00.123456789+24:00","expiresAt":"9999-12-31T23:59:59-23:59","since":"0000-01-01T00:00:00+23:59"}`,
		`{"version":1,"mode":"direct","dryRun":true,"batchSize":1000,"repair":"missing","ids":["a","b","a"],"maxRepairs":1,"fallback":"none","reason":"\u0000\ud800"}`,
		`{"version":1,"repair":["orphaned","missing"],"maxDeletes":5}`, `{"version":1,"repair":"stale, orphaned,"}`, `{"version":1,"repair":[null,"stale",""]}`,
		`{"version":1,"since":"2h45m0.5s","fallback":"direct"}`, `{"version":1e0,"batchSize":1.0,"x":{"y":[[[1]]]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		r, err := run.DecodeRequest(document)
		if errors.As(err, new(*run.NewerError)) {
			if r.Version = run.RequestVersion; len(err.Error()) > 20_000 || !utf8.ValidString(err.Error()) || r.Check() != nil {
				t.Fatalf("the error is %q of %+v", err, r)
			}
			return
		}
		if err != nil {
			var invalid *run.InvalidError
			if !errors.As(err, &invalid) || len(invalid.Fields) == 0 || len(err.Error()) > 20_000 || !utf8.ValidString(err.Error()) {
				t.Fatalf("the error is %q", err)
			}
			return
		}
		if len(r.ID) != 36 || r.ID != strings.ToLower(r.ID) || r.At.IsZero() || r.Version != run.RequestVersion || len(r.IDs) > run.MaxIDs || len(r.Reason) > run.MaxReason {
			t.Fatalf("it becomes %+v", r)
		}
		if len(r.Repair) == 0 || len(r.Repair) > 3 || r.MaxDeletes < 0 {
			t.Fatalf("it repairs %v, deletes %d", r.Repair, r.MaxDeletes)
		}
		for _, text := range []string{r.By, r.Key, r.Reason} {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				t.Fatalf("%q cannot be stored", text)
			}
		}
		if err := r.Check(); err != nil {
			t.Fatalf("checked again: %v", err)
		}
		once, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("it cannot be sent on: %v", err)
		}
		again, err := run.DecodeRequest(once)
		if err != nil {
			t.Fatalf("what is sent on is invalid: %v\n%s", err, once)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("it changes on its way, %v:\n%s\n%s", err, once, twice)
		}
	})
}
