package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// defaultWait is for a comparison where nothing is preferred; proxies often give up after a
// minute.
const defaultWait = 45 * time.Second

type validationDocument struct {
	Success bool `json:"success"`
	validation
	Message     string       `json:"message"`
	ProductSync *validation  `json:"productSync"` // where the former service had it
	Run         *runDocument `json:"run"`
	Timestamp   time.Time    `json:"timestamp"`
}

// getValidate answers with the newest comparison of all products. Where one is asked for
// that is younger than any there is, it is made and waited for.
func (a *API) getValidate(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r)
	maxAge := q.duration("maxAge")
	if err := q.problem(); err != nil {
		return err
	}
	notOlderThan := time.Time{}
	if maxAge != nil {
		notOlderThan = time.Now().Add(-*maxAge)
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	newest, err := a.parts.Runs.LatestLook(ctx, notOlderThan)
	cancel()
	var count *counted
	if err == nil && newest != nil {
		count = a.count(r.Context())
	}
	switch {
	case err != nil:
		return err
	case newest != nil && (maxAge == nil || !contradicted(newest, count)):
	case maxAge == nil:
		return &refusal{status: http.StatusNotFound, message: "the stores have not been compared yet: GET " + Prefix + "/validate?maxAge=0s compares them now"}
	case r.Method == http.MethodHead: // which only looks
		return &refusal{status: http.StatusNotFound, message: "no comparison is as young as that"}
	default:
		record, err := a.compare(r)
		if err != nil {
			return err
		}
		if record = a.await(r.Context(), record, grantedWait(w, r, defaultWait)); record.Status.Active() {
			a.answerRun(w, r, record)
			return nil
		}
		newest, count = &record, nil
	}
	return a.answerValidation(w, r, newest, count)
}

// count counts the stores. Where one of them is away there is no count, and a proof stands
// as it is: its age is told.
func (a *API) count(ctx context.Context) *counted {
	c, err := a.statistics.get(ctx)
	if err != nil {
		return nil
	}
	return &c
}

func contradicted(record *run.Record, count *counted) bool {
	if record.Report == nil {
		return false
	}
	v := judge(record)
	v.compare(count)
	return v.Contradicted != nil
}

// answerValidation says how the stores stood when a run ended, and whether a later count
// contradicts that.
func (a *API) answerValidation(w http.ResponseWriter, r *http.Request, record *run.Record, count *counted) error {
	if record.Report == nil || record.Status != run.StatusSucceeded && record.Status != run.StatusPartial {
		return &refusal{status: http.StatusServiceUnavailable, message: "the comparison is " + string(record.Status) + ", so it says nothing about the stores", run: record}
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	v := judge(record)
	v.compare(count)
	message := inDetail(record, words.API)
	if v.Contradicted != nil {
		message = v.Contradicted.message(v.Checked)
	}
	for kind, into := range map[product.Kind]*[]product.ID{product.Missing: &v.Details.MissingIDs, product.Orphaned: &v.Details.ExtraIDs} {
		var err error
		if *into, err = a.differing(ctx, record.ID, kind); err != nil {
			return err
		}
	}
	a.answer(w, r, http.StatusOK, validationDocument{
		Success: true, validation: *v, Message: message, ProductSync: v, Run: summary(*record), Timestamp: now(),
	})
	return nil
}

// differing are the first products of one kind that were known to differ when a run ended.
func (a *API) differing(ctx context.Context, id string, kind product.Kind) ([]product.ID, error) {
	const most = 1000
	filter := run.OutcomeFilter{Kind: []product.Kind{kind}, Limit: run.MaxPage}
	for _, rule := range run.States() {
		if rule.Open && rule.State != run.InFlight {
			filter.State = append(filter.State, rule.State)
		}
	}
	ids := []product.ID{}
	for {
		page, err := a.parts.Runs.Outcomes(ctx, id, filter)
		if err != nil {
			return nil, err
		}
		for i := range page.Outcomes {
			if len(ids) == most {
				return ids, nil
			}
			ids = append(ids, page.Outcomes[i].ID)
		}
		if page.Next == "" {
			return ids, nil
		}
		filter.After = page.Next
	}
}

// compare starts a comparison of all products, or joins the one that is under way.
func (a *API) compare(r *http.Request) (run.Record, error) {
	if !callOf(r.Context()).user.may(operators) {
		return run.Record{}, notAllowed(operators)
	}
	acting := r.Clone(r.Context())
	acting.Method = http.MethodPost // for this GET starts something
	if a.protection.Check(acting) != nil {
		return run.Record{}, crossSite
	}
	record, err := a.Submit(r.Context(), run.Request{Trigger: run.ByHTTP, Order: run.Order{DryRun: true, Reason: "validation"}})
	var active *run.ActiveError
	if errors.As(err, &active) && active.Active.Whole() {
		return active.Active, nil
	}
	return record, err
}
