package ui

import (
	"net/http"

	"github.com/ecom-micro/etl/api"
)

// letters are the messages that were no requests.
type letters struct {
	Letters []api.Letter
	Steers  bool
	More    bool // than are shown
}

// mostLetters are on the page.
const mostLetters = 100

func (u *UI) getLetters(w http.ResponseWriter, r *http.Request) error {
	found, err := u.api.Letters(r.Context(), mostLetters+1)
	if err != nil {
		return err
	}
	shown := found[:min(len(found), mostLetters)]
	return u.render(w, r, http.StatusOK, "letters", "Dead letters", letters{Letters: shown, Steers: api.Caller(r.Context()).Steers(), More: len(found) > len(shown)})
}

// postLetter puts a letter back into the queue of requests, or deletes it.
func (u *UI) postLetter(w http.ResponseWriter, r *http.Request) error {
	do := r.PostForm.Get("do")
	if do != "requeue" && do != "drop" {
		return refused(http.StatusBadRequest, "it is not said what is to be done with the letter")
	}
	n, err := u.api.SettleLetters(r.Context(), r.PostForm.Get("key"), do == "requeue")
	if err != nil {
		return err
	}
	if n == 0 {
		return refused(http.StatusConflict, "the letter is not there any more")
	}
	goTo(w, r, Path+"letters")
	return nil
}
