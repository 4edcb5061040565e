package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// nobody stands in the place of the run that opened a difference, where a detector has.
const nobody = "00000000-0000-0000-0000-000000000000"

// askAgain is after how long a run is asked for once more for a difference that still stands:
// its repair may have failed, and a detector sees it at each look.
const askAgain = 10 * time.Minute

// Detect opens differences that a detector has found, and returns how many of them were not
// open before. Those that are open already are due again if no run was asked for them of late.
// What is more than the ledger keeps is left to complete comparisons.
func (l *Ledger) Detect(ctx context.Context, findings []run.Finding) (fresh int, err error) {
	if len(findings) == 0 {
		return 0, nil
	}
	rows, due, announced := make([]outcomeRow, 0, len(findings)), make([]time.Time, 0, len(findings)), make([]bool, 0, len(findings))
	known := make(map[key]bool, len(findings))
	for _, f := range findings {
		row := outcomeRow{key: storedKey(f.Key), title: cut(f.Title, run.MaxTitle), state: string(run.Found), reason: "{}"}
		if !known[row.key] {
			known[row.key] = true
			rows, due, announced = append(rows, row), append(due, f.Due), append(announced, f.Announced)
		}
	}
	args := columnsOfRows(rows)
	args["announced"] = announced
	args["due"], args["pipeline"], args["nobody"], args["again"] = due, l.pipeline, parseID(nobody), askAgain
	const open = `
INSERT INTO ` + differenceTable + ` AS d (pipeline, product, title, kind, state, column_name, reason, opened_at, opened_by, changed_at, changed_by, due_at, announced_at)
SELECT @pipeline, product, title, kind, state, column_name, reason::jsonb, now(), @nobody, now(), @nobody, due, CASE WHEN announced THEN now() END
FROM unnest(@products::text[], @titles::text[], @kinds::text[], @states::text[], @columns::text[], @reasons::text[], @due::timestamptz[], @announced::boolean[])
	AS o (product, title, kind, state, column_name, reason, due, announced)
ON CONFLICT (pipeline, product, kind) DO UPDATE SET title = coalesce(nullif(excluded.title, ''), d.title), state = excluded.state,
	column_name = '', reason = excluded.reason, fields = NULL, opened_at = now(), opened_by = @nobody, changed_at = now(), changed_by = @nobody,
	closed_at = NULL, closed_by = NULL, acted_at = NULL, acted_by = NULL, attempts = 0, due_at = excluded.due_at,
	announced_at = coalesce(d.announced_at, excluded.announced_at)
WHERE d.closed_at IS NOT NULL`
	const again = `
UPDATE ` + differenceTable + ` d SET due_at = CASE
	WHEN d.due_at IS NOT NULL THEN least(d.due_at, o.due)
	WHEN d.asked_at IS NULL OR d.asked_at < now() - @again::interval THEN o.due END,
	announced_at = coalesce(d.announced_at, CASE WHEN o.announced THEN now() END)
FROM unnest(@products::text[], @kinds::text[], @due::timestamptz[], @announced::boolean[]) AS o (product, kind, due, announced)
WHERE ` + givenOpen + ` AND d.product = o.product AND d.kind = o.kind`
	return retried(ctx, l, "keep what a detector has found", func() (fresh int, err error) {
		err = l.inTx(ctx, func(tx pgx.Tx) error {
			before, err := l.lockDifferences(ctx, tx)
			if err != nil || before >= l.maxDifferences {
				return err
			}
			if err := exec(ctx, tx, args, again); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, open, args)
			if err != nil {
				return err
			}
			fresh = int(tag.RowsAffected())
			return exec(ctx, tx, pgx.NamedArgs{"pipeline": l.pipeline, "fresh": fresh}, `UPDATE `+pipelineTable+` SET open = open + @fresh WHERE pipeline = @pipeline`)
		})
		return fresh, err
	})
}

// askedLately is for how many differences runs were asked within the last hour.
const askedLately = `SELECT count(*) FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND asked_at > now() - interval '1 hour'`

// Pending returns what detectors have found of these kinds that is due by now, at most limit.
func (l *Ledger) Pending(ctx context.Context, kinds run.Kinds, limit int) (run.Pending, error) {
	const list = `
SELECT product FROM ` + differenceTable + `
WHERE pipeline = @pipeline AND due_at <= now() AND closed_at IS NULL AND kind = ANY(@kinds) ORDER BY due_at, product LIMIT @limit`
	args := pgx.NamedArgs{"pipeline": l.pipeline, "kinds": kinds, "limit": limit}
	return retried(ctx, l, "look up what detectors have found", func() (p run.Pending, err error) {
		if p.IDs, err = collect(ctx, l.pool, pgx.RowTo[product.ID], list, args); err != nil || len(p.IDs) == 0 {
			return p, err
		}
		return p, l.pool.QueryRow(ctx, askedLately, args).Scan(&p.Asked)
	})
}

// OpenIDs are the products with open differences of these kinds, in order, at most limit.
func (l *Ledger) OpenIDs(ctx context.Context, kinds run.Kinds, limit int) ([]product.ID, error) {
	const list = `
SELECT DISTINCT product FROM ` + differenceTable + `
WHERE pipeline = @pipeline AND closed_at IS NULL AND kind = ANY(@kinds) ORDER BY product LIMIT @limit`
	return retried(ctx, l, "list what is open", func() ([]product.ID, error) {
		return collect(ctx, l.pool, pgx.RowTo[product.ID], list, pgx.NamedArgs{"pipeline": l.pipeline, "kinds": kinds, "limit": limit})
	})
}

// Asked tells that a run was asked for to repair these products, of these kinds.
func (l *Ledger) Asked(ctx context.Context, ids []product.ID, kinds run.Kinds) error {
	const set = `
UPDATE ` + differenceTable + ` SET due_at = NULL, asked_at = now()
WHERE pipeline = @pipeline AND product = ANY(@products) AND kind = ANY(@kinds) AND due_at IS NOT NULL`
	products := make([]string, len(ids))
	for i, id := range ids {
		products[i] = stored(id)
	}
	_, err := retried(ctx, l, "keep that a run was asked for", func() (struct{}, error) {
		_, err := l.pool.Exec(ctx, set, pgx.NamedArgs{"pipeline": l.pipeline, "products": products, "kinds": kinds})
		return struct{}{}, err
	})
	return err
}

// TakeDue returns what detectors have found of these kinds that is due, and for which no run was
// asked yet: this one repairs it.
func (l *lease) TakeDue(ctx context.Context, kinds run.Kinds, hourly int) (ids []product.ID, err error) {
	const take = `
UPDATE ` + differenceTable + ` SET due_at = NULL, asked_at = now()
WHERE pipeline = @pipeline AND (product, kind) IN (
	SELECT product, kind FROM ` + differenceTable + `
	WHERE pipeline = @pipeline AND due_at <= now() AND closed_at IS NULL AND kind = ANY(@kinds)
	ORDER BY due_at, product LIMIT greatest(0, least(@portion, @hourly - (` + askedLately + `))))
RETURNING product`
	args := pgx.NamedArgs{"pipeline": l.ledger.pipeline, "kinds": kinds, "hourly": hourly, "portion": run.MaxBatchSize}
	err = l.write(ctx, "take what detectors have found", func(ctx context.Context, tx pgx.Tx) (err error) {
		ids, err = collect(ctx, tx, pgx.RowTo[product.ID], take, args)
		return err
	})
	return ids, err
}

// Freshness is how long each product that a run has proved to be in the cart had not been there:
// since its creation where its id tells that, else since it was found.
func (l *Ledger) Freshness(ctx context.Context, id string) ([]time.Duration, error) {
	const list = `
SELECT o.product, o.kind, o.at, d.opened_at FROM ` + outcomeTable + ` o
JOIN ` + differenceTable + ` d ON d.pipeline = @pipeline AND d.product = o.product AND d.kind = o.kind
WHERE o.run = @run AND o.state = @verified`
	args := pgx.NamedArgs{"pipeline": l.pipeline, "run": parseID(id), "verified": string(run.Verified)}
	return retried(ctx, l, "read how fresh the cart is", func() ([]time.Duration, error) {
		return collect(ctx, l.pool, func(row pgx.CollectableRow) (took time.Duration, err error) {
			var of run.Key
			var at, since time.Time
			if err := row.Scan(&of.ID, &of.Kind, &at, &since); err != nil {
				return 0, err
			}
			if created := product.CreatedBy(of.ID); of.Kind == product.Missing && !created.IsZero() && created.Before(since) {
				since = created
			}
			return at.Sub(since), nil
		}, list, args)
	})
}

// Take gives a detector's work to one process for a time, and returns how far it has come;
// false where another one has it. Whoever has it takes it again in time.
func (l *Ledger) Take(ctx context.Context, name run.Detector, owner string, length time.Duration) (state run.DetectorState, mine bool, err error) {
	const take = `
INSERT INTO ` + detectorTable + ` AS d (pipeline, name, owner, lease_until) VALUES (@pipeline, @name, @owner, now() + @length::interval)
ON CONFLICT (pipeline, name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
WHERE d.owner = excluded.owner OR d.lease_until IS NULL OR d.lease_until < now()
RETURNING name, owner, mark, looked_at, problem, checked, differing`
	args := pgx.NamedArgs{"pipeline": l.pipeline, "name": string(name), "owner": cut(owner, maxText), "length": length}
	found, err := retried(ctx, l, "take the work of detector "+string(name), func() (*run.DetectorState, error) {
		return first(ctx, l.pool, scanDetector, take, args)
	})
	if err != nil || found == nil {
		return state, false, err
	}
	return *found, true, nil
}

// Looked keeps how a look of a detector went: until when everything created was compared,
// zero where that is as before, how many products it looked at and how many of these were
// differences that nobody knew of, and what went wrong, nil where nothing did.
func (l *Ledger) Looked(ctx context.Context, name run.Detector, mark time.Time, checked, differing int, problem error) error {
	const set = `
INSERT INTO ` + detectorTable + ` AS d (pipeline, name, mark, looked_at, problem, checked, differing)
VALUES (@pipeline, @name, @mark, CASE WHEN @problem = '' THEN now() END, @problem, @checked, @differing)
ON CONFLICT (pipeline, name) DO UPDATE SET mark = greatest(excluded.mark, d.mark), looked_at = coalesce(excluded.looked_at, d.looked_at),
	problem = excluded.problem, checked = d.checked + excluded.checked, differing = d.differing + excluded.differing`
	args := pgx.NamedArgs{"pipeline": l.pipeline, "name": string(name), "mark": nil, "problem": "", "checked": checked, "differing": differing}
	if !mark.IsZero() {
		args["mark"] = mark
	}
	if problem != nil {
		args["problem"] = cut(problem.Error(), run.MaxError)
	}
	_, err := retried(ctx, l, "keep how far detector "+string(name)+" has come", func() (struct{}, error) {
		_, err := l.pool.Exec(ctx, set, args)
		return struct{}{}, err
	})
	return err
}

// Detection is how far those detectors have come that have ever worked, by name, and how much
// of what they found waits for a run.
func (l *Ledger) Detection(ctx context.Context) (run.Detection, error) {
	const list = `
SELECT name, CASE WHEN lease_until >= now() THEN owner ELSE '' END, mark, looked_at, problem, checked, differing FROM ` + detectorTable + `
WHERE pipeline = @pipeline ORDER BY name`
	const pending = `SELECT count(*) FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND due_at IS NOT NULL AND closed_at IS NULL`
	args := pgx.NamedArgs{"pipeline": l.pipeline}
	return retried(ctx, l, "read how far the detectors have come", func() (d run.Detection, err error) {
		if d.Detectors, err = collect(ctx, l.pool, scanDetector, list, args); err != nil {
			return d, err
		}
		return d, l.pool.QueryRow(ctx, pending, args).Scan(&d.Pending)
	})
}

func scanDetector(row pgx.CollectableRow) (s run.DetectorState, err error) {
	var mark, looked *time.Time
	err = row.Scan(&s.Name, &s.Owner, &mark, &looked, &s.Problem, &s.Checked, &s.Differing)
	s.Mark, s.LookedAt = utc(mark), utc(looked)
	return s, err
}
