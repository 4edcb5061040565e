package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

const maxNotice = 4000

// Notify keeps a notice to be told, unless it is the last that was kept of its subject, or the
// end of what was not told. It returns whether it is news.
func (l *Ledger) Notify(ctx context.Context, n run.Notice) (news bool, err error) {
	const add = `
INSERT INTO ` + noticeTable + ` (pipeline, subject, event, text, run)
SELECT @pipeline, @subject, @event, @text, @run WHERE NOT EXISTS (
	SELECT FROM ` + noticeTable + ` WHERE pipeline = @pipeline AND subject = @subject AND event = @event
		AND id = (SELECT max(id) FROM ` + noticeTable + ` WHERE pipeline = @pipeline AND subject = @subject))
	AND (@heals = '' OR EXISTS (
	SELECT FROM ` + noticeTable + ` WHERE pipeline = @pipeline AND subject = @subject AND event = @heals
		AND id = (SELECT max(id) FROM ` + noticeTable + ` WHERE pipeline = @pipeline AND subject = @subject)))
RETURNING true`
	var id pgtype.UUID
	if n.Run != "" {
		id = parseID(n.Run)
	}
	args := pgx.NamedArgs{"pipeline": l.pipeline, "subject": cut(n.Subject, maxText), "event": string(n.Event), "heals": string(n.Event.Heals()), "text": cut(n.Text, maxNotice), "run": id}
	return retried(ctx, l, "keep a notice", func() (news bool, err error) {
		err = l.inTx(ctx, func(tx pgx.Tx) error {
			// Two replicas see the same at the same time.
			if err := exec(ctx, tx, pgx.NamedArgs{"subject": l.pipeline + "/" + n.Subject}, `SELECT pg_advisory_xact_lock(hashtextextended('etl notice ' || @subject, 0))`); err != nil {
				return err
			}
			added, err := first(ctx, tx, pgx.RowTo[bool], add, args)
			news = added != nil
			return err
		})
		return news, err
	})
}

// TakeNotice returns the notice that is due for the longest, nil where none is. It is due again
// after a time, unless Told says that it was told.
func (l *Ledger) TakeNotice(ctx context.Context, again time.Duration) (*run.Notice, error) {
	const take = `
UPDATE ` + noticeTable + ` SET attempts = attempts + 1, due_at = now() + @again::interval
WHERE id = (SELECT id FROM ` + noticeTable + ` WHERE pipeline = @pipeline AND due_at <= now() ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, subject, event, at, text, coalesce(run::text, ''), attempts`
	return retried(ctx, l, "take a notice", func() (*run.Notice, error) {
		return first(ctx, l.pool, func(row pgx.CollectableRow) (n run.Notice, err error) {
			err = row.Scan(&n.ID, &n.Subject, &n.Event, &n.At, &n.Text, &n.Run, &n.Attempts)
			n.At = n.At.UTC()
			return n, err
		}, take, pgx.NamedArgs{"pipeline": l.pipeline, "again": again})
	})
}

// Told keeps what came of telling a notice: nil, or the problem, after which it is due again in
// a while, or never where that is 0.
func (l *Ledger) Told(ctx context.Context, id int64, problem error, again time.Duration) error {
	const told = `
UPDATE ` + noticeTable + ` SET told_at = CASE WHEN @problem = '' THEN now() END, problem = @problem,
	due_at = CASE WHEN @problem <> '' AND @again::interval > interval '0' THEN now() + @again::interval END
WHERE id = @id AND told_at IS NULL`
	args := pgx.NamedArgs{"id": id, "problem": "", "again": again}
	if problem != nil {
		args["problem"] = cut(problem.Error(), run.MaxError)
	}
	_, err := retried(ctx, l, "keep that a notice was told", func() (struct{}, error) {
		_, err := l.pool.Exec(ctx, told, args)
		return struct{}{}, err
	})
	return err
}
