"""Rendezvous backend `"""
