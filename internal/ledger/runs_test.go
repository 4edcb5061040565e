package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestCursors(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	record := submitted(t, l)
	for _, bad := range []string{"x", "!", cursor("", ""), cursor("1", "no id"), cursor("one", record.ID), cursor("9223372036854775807", record.ID),
		cursor("-9223372036854775808", record.ID), record.ID, "AA==", cursor("missing", "\x00"), cursor("missing", "\xff")} {
		if _, err := l.Runs(t.Context(), run.Filter{Before: bad}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("runs before %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"x", "!", record.ID, "AA==", cursor("missing", "\x00"), cursor("missing", "\xff"), cursor("\xff", "a")} {
		if _, err := l.Outcomes(t.Context(), record.ID, run.OutcomeFilter{After: bad}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("outcomes after %q: %v", bad, err)
		}
	}
}

// However many ids runs were asked for, a list of them stays small: they are not loaded.
func TestCaseE10ListsDoNotLoadIDs(t *testing.T) {
	t.Parallel()
	const runs = run.MaxPage
	l := fresh(t)
	named := submitted(t, l, func(r *run.Request) {
		r.Reason = `an "ids": [1] in a text`
		for i := range run.MaxIDs {
			r.IDs = append(r.IDs, product.ID(fmt.Sprintf("%024x", i*i)))
		}
	})
	if _, err := l.Ask(t.Context(), named.ID, run.WantCancel, run.Actor{}); err != nil {
		t.Fatal(err)
	}
	// The others as it is, but for one as an older program has entered it.
	execute(t, l, `
INSERT INTO etl_ledger.run (id, pipeline, slot, status, trigger, mode, dry_run, whole, request, brief, requested_at, finished_at)
SELECT gen_random_uuid(), pipeline, slot, status, trigger, mode, dry_run, whole, request, CASE WHEN n > 1 THEN brief END, requested_at - n * interval '1 second', finished_at
FROM etl_ledger.run, generate_series(1, $2) AS n WHERE id = $1`, named.ID, runs-1)
	page, err := l.Runs(t.Context(), run.Filter{Limit: runs})
	if err != nil || len(page.Runs) != runs {
		t.Fatalf("%d runs, %v", len(page.Runs), err)
	}
	want := named.Request
	want.IDs = nil
	for i := range page.Runs {
		r := &page.Runs[i]
		want.ID = r.ID
		if r.IDCount != run.MaxIDs || r.Whole() || !reflect.DeepEqual(r.Request, want) {
			t.Fatalf("run %d of the page is %+v, want %+v", i, r, want)
		}
	}
	all, err := json.Marshal(page)
	if err != nil || len(all) > 1<<20 {
		t.Errorf("the page has %d bytes, %v", len(all), err)
	}
	if whole := found(t, l, named.ID); len(whole.Request.IDs) != run.MaxIDs || whole.IDCount != run.MaxIDs {
		t.Errorf("by its id it has %d ids", len(whole.Request.IDs))
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor("1", "01a203e8-a114-7bc7-969a-08bb4f36c436"))
	f.Add(cursor("missing", "a b"))
	f.Add("AA==")
	f.Fuzz(func(t *testing.T, text string) {
		first, second, err := parseCursor(text)
		if err != nil {
			if !errors.Is(err, run.ErrCursor) {
				t.Error(err)
			}
		} else if again := cursor(first, second); again != text {
			t.Errorf("%q is %q", text, again)
		}
		if at, id, err := parseRunCursor(text); err == nil {
			if again, sameID, err := parseRunCursor(cursor(fmt.Sprint(at.UnixMicro()), id.String())); err != nil || !again.Equal(at) || sameID != id {
				t.Errorf("%q comes back as %s, %s, %v", text, again, sameID, err)
			}
		}
	})
}
