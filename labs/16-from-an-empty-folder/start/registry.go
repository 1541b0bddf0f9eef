package main

// TODO: strategy, which embeds runtime.ObjectTyper and names.NameGenerator and is a
// rest.RESTCreateStrategy, a rest.RESTUpdateStrategy and a rest.RESTDeleteStrategy. The
// compiler says what is missing:
//
//	var (
//		_ rest.RESTCreateStrategy = strategy{}
//		_ rest.RESTUpdateStrategy = strategy{}
//		_ rest.RESTDeleteStrategy = strategy{}
//	)

// TODO: newStore, which makes a genericregistry.Store with this strategy and completes it
// with the options that say where etcd is, a generic.RESTOptionsGetter.

// TODO: a rest.TableConvertor for the store. table.MetaToTableRow makes rows.
