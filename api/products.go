package api

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

const maxHistory = 50

type productDocument struct {
	*words.ExplanationDocument
	Timestamp time.Time `json:"timestamp"`
}

// getProduct says of one product what either store holds, what that means, and what
// became of it in earlier runs.
func (a *API) getProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := productID(r)
	if err != nil {
		return err
	}
	d, err := a.Explain(r.Context(), id, words.API)
	if err != nil {
		return err
	}
	if !d.InSource && !d.InCart && len(d.History) == 0 {
		return &refusal{status: http.StatusNotFound, message: "neither store has this product, and no run has met it: " + d.Next}
	}
	a.answer(w, r, http.StatusOK, productDocument{d, now()})
	return nil
}

// productID is the id in the path.
func productID(r *http.Request) (product.ID, error) {
	text, err := url.PathUnescape(mux.Vars(r)["id"])
	if err != nil {
		return "", invalid("id", "is not percent-encoded as it should be")
	}
	return ProductID(text)
}

// ProductID is an id that a caller has given, under the rules for ids in a request.
func ProductID(text string) (product.ID, error) {
	id := product.ID(text)
	order := run.Order{IDs: []product.ID{id}}
	var problem *run.InvalidError
	if errors.As(order.Check(), &problem) {
		return "", invalid("id", "%s", problem.Fields[0].Message)
	}
	return id, nil
}
