package ui

import (
	"net/http"
	"strings"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// oneProduct is a product on both sides, and its past.
type oneProduct struct {
	*words.ExplanationDocument
	Steers     bool
	Repairable bool
}

// getSearch leads to the page of what was searched: a run's, where it is the id of one.
func (u *UI) getSearch(w http.ResponseWriter, r *http.Request) error {
	sought := strings.TrimSpace(r.URL.Query().Get("id"))
	if sought == "" {
		goTo(w, r, Path)
		return nil
	}
	if id, err := api.RunID(sought); err == nil {
		if _, err := u.parts.Runs.Run(r.Context(), id); err == nil {
			goTo(w, r, Path+"runs/"+id)
			return nil
		}
	}
	id, err := api.ProductID(sought)
	if err != nil {
		return err
	}
	goTo(w, r, productLink(id))
	return nil
}

func (u *UI) getProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := api.ProductID(r.PathValue("id"))
	if err != nil {
		return err
	}
	d, err := u.api.Explain(r.Context(), id, words.Pages)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !d.InSource && !d.InCart && len(d.History) == 0 {
		status = http.StatusNotFound
	}
	repairable := d.Verdict == run.VerdictMissing || d.Verdict == run.VerdictStale || d.Verdict == run.VerdictOrphaned
	return u.render(w, r, status, "product", "Product "+words.ID(id), oneProduct{d, api.Caller(r.Context()).Steers(), repairable})
}
