"""Event recorders `con"""
