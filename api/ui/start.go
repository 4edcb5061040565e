package ui

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// start is the form of a new run.
type start struct {
	Steers bool
	IDs    string
	Kinds  []product.Rule
	// Meanings are what a repair of each kind does.
	Meanings map[product.Kind]string
}

var meanings = map[product.Kind]string{
	product.Missing:  "in the Product Service alone: added to the cart",
	product.Stale:    "in both, and different: the cart's is changed",
	product.Orphaned: "in the cart alone: deleted there, at most as many as “Delete at most” says",
}

func (u *UI) getStart(w http.ResponseWriter, r *http.Request) error {
	return u.render(w, r, http.StatusOK, "start", "Start a run", start{
		Steers: api.Caller(r.Context()).Steers(), IDs: r.URL.Query().Get("ids"), Kinds: product.Rules(), Meanings: meanings})
}

func (u *UI) postRun(w http.ResponseWriter, r *http.Request) error {
	order, err := orderOf(r)
	if err != nil {
		return err
	}
	record, err := u.api.Submit(r.Context(), run.Request{Trigger: run.ByHTTP, Order: order})
	if err != nil {
		return err
	}
	goTo(w, r, Path+"runs/"+record.ID)
	return nil
}

// orderOf reads a form. What is left empty has the defaults of a request.
func orderOf(r *http.Request) (run.Order, error) {
	form := r.PostForm
	order := run.Order{Mode: run.Mode(form.Get("mode")), DryRun: form.Get("dryRun") == "true", Fallback: run.Fallback(form.Get("fallback")), Reason: strings.TrimSpace(form.Get("reason"))}
	if order.DryRun {
		order.Fallback = ""
	}
	problem := &run.InvalidError{}
	wrong := func(field, message string) {
		problem.Fields = append(problem.Fields, run.FieldError{Field: field, Message: message})
	}
	for _, kind := range form["repair"] {
		order.Repair = append(order.Repair, product.Kind(kind))
	}
	for _, id := range strings.Fields(form.Get("ids")) {
		order.IDs = append(order.IDs, product.ID(id))
	}
	for name, into := range map[string]*int{"maxRepairs": &order.MaxRepairs, "maxDeletes": &order.MaxDeletes} {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			wrong(name, "must be a number above 0")
			continue
		}
		*into = n
	}
	if since := strings.TrimSpace(form.Get("since")); since != "" {
		if err := order.Since.UnmarshalJSON([]byte(strconv.Quote(since))); err != nil {
			wrong("since", err.Error())
		}
		order.Since.Time = order.Since.Round(time.Millisecond)
	}
	if len(problem.Fields) > 0 {
		return order, problem
	}
	return order, order.Check()
}
