package ledger

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// Run returns one run.
func (l *Ledger) Run(ctx context.Context, id string) (run.Record, error) {
	record, err := retried(ctx, l, "read run "+cut(id, maxText), func() (*run.Record, error) { return l.find(ctx, id) })
	if err == nil && record == nil {
		err = run.ErrNotFound
	}
	if err != nil {
		return run.Record{}, err
	}
	return *record, nil
}

// find returns nil where there is no such run.
func (l *Ledger) find(ctx context.Context, id string) (*run.Record, error) {
	return first(ctx, l.pool, scanRecord, "SELECT "+columns+" FROM "+runTable+" WHERE id = @id AND pipeline = @pipeline",
		pgx.NamedArgs{"id": parseID(id), "pipeline": l.pipeline})
}

const listRuns = `
SELECT ` + briefColumns + ` FROM ` + runTable + `
WHERE pipeline = @pipeline
	AND (requested_at, id) < (coalesce(@before, 'infinity'::timestamptz), coalesce(@before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
	AND requested_at >= coalesce(@since, '-infinity'::timestamptz)
	AND (@status::text[] IS NULL OR status = ANY(@status))
	AND (@trigger::text[] IS NULL OR trigger = ANY(@trigger))
	AND (@attention::text[] IS NULL OR attention = ANY(@attention))
	AND (@mode::text = '' OR mode = @mode)
	AND (@dry_run::boolean IS NULL OR dry_run = @dry_run)
ORDER BY requested_at DESC, id DESC LIMIT @limit`

// Runs returns a page of runs, the latest first, without the ids that they were asked
// for. A Before that is no page's Next is
// run.ErrCursor.
func (l *Ledger) Runs(ctx context.Context, f run.Filter) (run.Page, error) {
	limit := pageLimit(f.Limit)
	args := pgx.NamedArgs{
		"pipeline": l.pipeline, "before": nil, "before_id": nil, "since": nil, "status": texts(f.Status), "trigger": texts(f.Trigger), "attention": texts(f.Attention),
		"mode": string(f.Mode), "dry_run": f.DryRun, "limit": limit + 1,
	}
	if f.Before != "" {
		at, id, err := parseRunCursor(f.Before)
		if err != nil {
			return run.Page{}, err
		}
		args["before"], args["before_id"] = at, id
	}
	if !f.Since.IsZero() {
		args["since"] = f.Since
	}
	runs, err := retried(ctx, l, "list runs", func() ([]run.Record, error) { return collect(ctx, l.pool, scanBrief, listRuns, args) })
	page := run.Page{Runs: runs}
	if len(runs) > limit {
		page.Runs = runs[:limit]
		last := &page.Runs[limit-1]
		page.Next = cursor(strconv.FormatInt(last.Request.At.UnixMicro(), 10), last.ID)
	}
	return page, err
}

// Active returns the run that holds the slot, nil where none does; without its ids, as
// the runs of a list.
func (l *Ledger) Active(ctx context.Context, slot run.Slot) (*run.Record, error) {
	return l.pick(ctx, "find the active run", `slot = @slot AND status IN ('queued', 'running', 'paused')`,
		pgx.NamedArgs{"slot": string(slot)})
}

// Latest returns the run of the slot that finished last, nil where none has; without its
// ids.
func (l *Ledger) Latest(ctx context.Context, slot run.Slot) (*run.Record, error) {
	return l.pick(ctx, "find the latest run", `slot = @slot AND status IN ('succeeded', 'partial', 'failed', 'cancelled')
		ORDER BY finished_at DESC, id DESC LIMIT 1`, pgx.NamedArgs{"slot": string(slot)})
}

// LatestLook returns the run over the whole catalogue that finished last and neither
// failed nor was cancelled, where it did so at the given time or later; otherwise nil.
func (l *Ledger) LatestLook(ctx context.Context, notOlderThan time.Time) (*run.Record, error) {
	return l.pick(ctx, "find the latest comparison", `whole AND status IN ('succeeded', 'partial') AND finished_at >= @since
		ORDER BY finished_at DESC, id DESC LIMIT 1`, pgx.NamedArgs{"since": notOlderThan})
}

func (l *Ledger) pick(ctx context.Context, what, where string, args pgx.NamedArgs) (*run.Record, error) {
	args["pipeline"] = l.pipeline
	return retried(ctx, l, what, func() (*run.Record, error) {
		return first(ctx, l.pool, scanBrief, "SELECT "+briefColumns+" FROM "+runTable+" WHERE pipeline = @pipeline AND "+where, args)
	})
}

func pageLimit(limit int) int {
	if limit <= 0 {
		return run.DefaultPage
	}
	return min(limit, run.MaxPage)
}

// cursor is a place between two rows, in a form that nobody is tempted to build.
func cursor(first, second string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(first + " " + second))
}

func parseCursor(cursor string) (first, second string, err error) {
	plain, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	first, second, ok := strings.Cut(string(plain), " ")
	if err != nil || !ok || text.Stored(string(plain)) != string(plain) {
		return "", "", fmt.Errorf("%w: %q", run.ErrCursor, cut(cursor, maxText))
	}
	return first, second, nil
}

func parseRunCursor(text string) (at time.Time, id pgtype.UUID, err error) {
	first, second, err := parseCursor(text)
	if err != nil {
		return at, id, err
	}
	at, err = parseMicros(first)
	if id = parseID(second); err != nil || !id.Valid {
		return at, id, fmt.Errorf("%w: %q", run.ErrCursor, cut(text, maxText))
	}
	return at, id, nil
}

// parseMicros reads the time of a cursor. What the ledger holds are times that JSON can say.
func parseMicros(text string) (time.Time, error) {
	micros, err := strconv.ParseInt(text, 10, 64)
	at := time.UnixMicro(micros).UTC()
	if err == nil && (at.Year() < 0 || at.Year() > 9999) {
		err = fmt.Errorf("the year %d", at.Year())
	}
	return at, err
}
