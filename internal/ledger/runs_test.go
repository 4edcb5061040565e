package ledger

import (
	"errors"
	"fmt"
	"testing"

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
