package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// What the ledger keeps comes back as it was, whatever the database's encoding has no
// character for, and whatever the role says of its clients' encoding.
func TestCaseA1TheLedgersEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"UTF8", "LATIN1", "WIN1252", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			db := testenv.Cart(t, testenv.Encoded(encoding))
			if encoding == "UTF8" {
				db.Exec("ALTER DATABASE " + db.Name + " SET client_encoding = 'LATIN1'")
			}
			l := open(t, db.URL, "Größe 😀")
			if err := l.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			lease := begun(t, l, long)
			const id = "größe 日本 😀"
			outcome := run.Outcome{Key: run.Key{ID: id, Kind: product.Stale}, State: run.Blocked, Column: "title",
				Reason: run.Reason{Code: run.ReasonMisfit, Detail: "has the character 😀 " + strings.Repeat("é", 300)}, Fields: []run.FieldChange{{Field: "title", Source: "Größe 😀", Cart: "日本"}}}
			inHand(t, lease, id)
			settle(t, lease, run.Settlement{Outcomes: []run.Outcome{outcome}, Look: &run.Look{At: time.Now(), Products: 1}})
			past, err := l.History(t.Context(), id, 9)
			if err != nil || len(past) != 1 || past[0].ID != id || past[0].Reason.Detail != outcome.Reason.Detail || past[0].Fields[0] != outcome.Fields[0] {
				t.Errorf("the history is %+v, %v", past, err)
			}
			if known, err := lease.Known(t.Context(), []product.ID{id}); err != nil || len(known) != 1 {
				t.Errorf("known are %+v, %v", known, err)
			}
			if open, err := lease.Open(t.Context(), run.Key{}, 9); err != nil || len(open) != 1 || open[0].ID != id {
				t.Errorf("open are %+v, %v", open, err)
			}
		})
	}
}
