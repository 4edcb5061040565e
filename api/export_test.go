package api

import "github.com/gorilla/mux"

// For tests.
var (
	PreferredWait = preferredWait
	SessionToken  = sessionToken
)

// Limits that tests meet.
const (
	MaxBody     = maxBody
	MaxWatchers = maxWatchers
)

// Routes are method and path of everything that the router serves.
func (a *API) Routes() (routes []string, err error) {
	err = a.router.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := r.GetMethods()
		if err != nil {
			return err
		}
		for _, method := range methods {
			routes = append(routes, method+" "+path)
		}
		return nil
	})
	return routes, err
}
