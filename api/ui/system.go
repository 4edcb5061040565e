package ui

import (
	"maps"
	"net/http"
	"slices"

	"github.com/ecom-micro/etl/api"
)

// health is what the service depends on.
type health struct {
	Healthy      bool
	Dependencies []dependency
	Chain        chain
}

type dependency struct {
	Name string
	api.Dependency
}

func (u *UI) getHealth(w http.ResponseWriter, r *http.Request) error {
	found, err := u.api.Health(r.Context())
	if err != nil {
		return err
	}
	h := health{Healthy: found.Healthy, Chain: u.chainOf(found.Delivery)}
	for _, name := range slices.Sorted(maps.Keys(found.Dependencies)) {
		h.Dependencies = append(h.Dependencies, dependency{name, found.Dependencies[name]})
	}
	h.Dependencies = append(h.Dependencies, dependency{"exchanges and queues", found.Topology})
	return u.render(w, r, http.StatusOK, "health", "Health", h)
}

func (u *UI) getSettings(w http.ResponseWriter, r *http.Request) error {
	return u.render(w, r, http.StatusOK, "settings", "Settings", u.parts.Settings)
}
